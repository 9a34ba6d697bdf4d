//! Pods on Medley, driven by the calls that a kubelet makes.

mod crash;
mod dispatch;
mod exec;
mod http;
mod kubelet;
mod parallel;
mod pods;
mod refusals;
mod restart;
