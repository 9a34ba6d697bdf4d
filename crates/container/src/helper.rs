//! What a helper process does from its first instruction: take the request, do it, answer.
//!
//! A helper is single-threaded, so that libcontainer may clone it, and it lives for milliseconds.

mod agent;
mod bound_dev;
mod builder;
mod cgroup_mount;
pub(crate) mod compile;
mod console;
mod copy_up;
mod create;
mod engines;
mod exec;
mod image;
mod inside;
pub(crate) mod keyring;
pub(crate) mod load_program;
pub(crate) mod log_file;
mod loopback;
mod mount_flags;
mod mounted;
mod propagation;
mod sandbox;
pub(crate) mod schedule;
mod sources;
mod user_namespace;

use std::os::fd::{AsFd, OwnedFd};

use medley_sys::clone::SingleThreaded;
use medley_sys::trace;

pub use engines::Engines;

use crate::protocol::{Failure, HelperCall, ReceiveError, Reply, Request, send_reply};

/// The first argument that makes our binary a helper. The second is the pid of who runs it.
pub const VERB: &str = "helper";

/// The first descriptor that a helper is not meant to have when it begins.
const FIRST_UNMEANT: u32 = 3;

/// Runs the helper. Its request comes over the socket that is its stdin.
///
/// Returns the process's exit status: 0 if a reply was sent, a refusal among them.
#[must_use]
pub fn run(engines: Engines) -> u8 {
    // What containerd was started with, and handed on, is for none of its containers.
    medley_sys::child::close_from(FIRST_UNMEANT);
    // The shim, which writes to the same dir, has said it.
    trace::begin("helper").ok();
    let _whole = trace::span("helper");
    // A container that was made after the shim's end could not be reached.
    let shim = std::env::args().nth(2).and_then(|pid| pid.parse().ok());
    if let Err(error) = medley_sys::child::die_with(shim.unwrap_or(0)) {
        return fail(&error);
    }
    // Its memory and its descriptors are not for what it makes, nor for who is there already.
    if let Err(error) = medley_sys::child::be_undumpable() {
        return fail(&error);
    }
    medley_sys::child::hear_signals();
    if let Err(error) = medley_sys::child::pass_on_no_capabilities() {
        return fail(&error);
    }
    let socket = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => socket,
        Err(error) => return fail(&error),
    };
    let waiting = trace::span("wait for a request");
    let request = receive(&socket);
    drop(waiting);
    let request = match request {
        Ok(request) => request,
        Err(error) => return fail(&error),
    };
    match request {
        Request::Create(call) => reply(&socket, call, |call| create::run(call, engines)),
        Request::Exec(call) => reply(&socket, call, |call| exec::run(call, &socket, engines)),
        Request::Compile(call) => reply(&socket, call, |call| compile::run(call, engines)),
        Request::MakeUserNamespace(call) => reply(&socket, call, user_namespace::run),
        Request::MakeSandbox(call) => reply(&socket, call, sandbox::run),
        Request::Fingerprint(call) => reply(&socket, call, |call| {
            load_program::fingerprint(call.engine, engines)
        }),
        Request::ListLayers(call) => reply(&socket, call, image::list),
        Request::FetchLayer(call) => reply(&socket, call, image::fetch),
        Request::FetchEntrypoint(call) => reply(&socket, call, image::entrypoint),
        Request::FetchApplication(call) => reply(&socket, call, image::application),
        Request::ResolveImage(_) => fail(&Error::Twice),
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("cannot ask for a container's image in a process of its own")]
    Clone(#[source] std::io::Error),
    #[error("asked for a container's image again")]
    Twice,
}

/// The request for this process, after one that a clone of it has replied to.
fn receive(socket: &OwnedFd) -> Result<Request<OwnedFd>, Error> {
    let call = match Request::receive(socket)? {
        Request::ResolveImage(call) => call,
        request => return Ok(request),
    };
    // What asks containerd gives up root's rights, which this process has to keep.
    SingleThreaded::check()
        .and_then(|alone| alone.run_child(|| reply(socket, call, image::target)))
        .map_err(Error::Clone)?;
    Ok(Request::receive(socket)?)
}

/// Does what `call` asks for, replies, and gives the process's exit status. The end of a helper makes
/// an orphan of what it has made: it waits until the shim knows of that, and has closed the socket.
fn reply<C: HelperCall<OwnedFd>>(
    socket: &OwnedFd,
    call: C,
    run: impl FnOnce(C) -> Result<C::Reply, Failure>,
) -> u8 {
    let reply = run(call);
    let has_child = reply.as_ref().is_ok_and(|reply| reply.child().is_some());
    if let Err(error) = send_reply(socket, reply) {
        return fail(&error);
    }
    if has_child {
        // Nothing is ever sent: this is the socket's end, or as good as it.
        rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut [0; 1])).ok();
    }
    0
}

/// Writes to the log why there is no reply.
fn fail(error: &dyn std::error::Error) -> u8 {
    log_file::write(&format!("helper: {}", medley_types::sentence(error)));
    1
}
