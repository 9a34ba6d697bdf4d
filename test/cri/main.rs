//! Pods on Medley, driven by the calls that a kubelet makes.

mod artifacts;
mod crash;
mod dispatch;
mod exec;
mod filesystems;
mod http;
mod kubelet;
mod namespaces;
mod node;
mod parallel;
mod pods;
mod refusals;
mod restart;
mod sandbox;
mod security;
mod service;
mod sockets;
mod spin;
mod streams;
mod versions;
mod wasmedge;
