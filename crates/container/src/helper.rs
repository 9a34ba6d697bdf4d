//! What a helper process does from its first instruction: take the request, do it, answer.
//!
//! A helper is single-threaded, so that libcontainer may clone it, and it lives for milliseconds.

mod bound_dev;
mod cgroup_mount;
pub(crate) mod compile;
mod console;
mod copy_up;
mod create;
mod exec;
mod image;
mod inside;
pub(crate) mod keyring;
pub(crate) mod load_program;
pub(crate) mod log_file;
mod loopback;
mod mounted;
mod propagation;
mod sandbox;
mod schedule;
mod sources;
mod user_namespace;

use std::os::fd::{AsFd, OwnedFd};

use medley_dispatch::EngineKind;
use medley_engine::Engine;
use medley_sys::clone::Alone;

use crate::protocol::{Reply, Request};

/// The first argument that makes our binary a helper. The second is the pid of who runs it.
pub const VERB: &str = "helper";

/// The first descriptor that a helper is not meant to have when it begins.
const FIRST_UNMEANT: u32 = 3;

/// Gives the engine of a kind, if it is built in.
pub type Engines = fn(EngineKind) -> Option<&'static dyn Engine>;

/// An answer, and the descriptor that comes with it.
pub(crate) type Answer = (Reply, Option<OwnedFd>);

/// Runs the helper. Its request comes over the socket that is its stdin.
///
/// Returns the process's exit status: 0 if an answer was given, whatever it says.
#[must_use]
pub fn run(engines: Engines) -> u8 {
    // What containerd was started with, and handed on, is for none of its containers.
    medley_sys::child::close_from(FIRST_UNMEANT);
    // Nobody would hear of what is made after the shim's end.
    let shim = std::env::args().nth(2).and_then(|pid| pid.parse().ok());
    if let Err(error) = medley_sys::child::die_with(shim.unwrap_or(0)) {
        return complain(&error);
    }
    // Its memory and its descriptors are not for what it makes, nor for who is there already.
    if let Err(error) = medley_sys::child::be_undumpable() {
        return complain(&error);
    }
    medley_sys::child::hear_signals();
    if let Err(error) = medley_sys::child::pass_on_no_capabilities() {
        return complain(&error);
    }
    let socket = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => socket,
        Err(error) => return complain(&error),
    };
    let (request, fds) = match receive(&socket) {
        Ok(received) => received,
        Err(error) => return complain(&error),
    };
    let one = |(reply, fd): Answer| (reply, fd.into_iter().collect());
    let (reply, fds) = match request {
        Request::Create(order) => one(create::run(*order, fds, engines)),
        Request::Exec(order) => one(exec::run(*order, fds, &socket, engines)),
        Request::Compile(order) => one(compile::run(&order, fds, engines)),
        Request::UserNamespace(maps) => one(user_namespace::run(&maps)),
        Request::Fingerprint(engine) => one((load_program::fingerprint(engine, engines), None)),
        Request::Entrypoint(order) => one(image::entrypoint(&order)),
        Request::Layers(order) => one((image::list(&order), None)),
        Request::Fetch(order) => one(image::fetch(&order)),
        Request::Pod(order) => sandbox::run(&order, fds),
        Request::TargetFirst(_) => return complain(&Error::Twice),
    };
    say(&socket, &reply, &fds)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot receive a request")]
    Receive(#[source] std::io::Error),
    #[error("cannot read the request")]
    Read(#[from] serde_json::Error),
    #[error("cannot ask for a container's image in a process of its own")]
    Clone(#[source] std::io::Error),
    #[error("asked for a container's image again")]
    Twice,
}

/// The request to answer in this process, after one that another answers.
fn receive(socket: &OwnedFd) -> Result<(Request, Vec<OwnedFd>), Error> {
    let next = || {
        let (bytes, fds) = medley_sys::message::receive_document(socket).map_err(Error::Receive)?;
        Ok((serde_json::from_slice(&bytes)?, fds))
    };
    let order = match next()? {
        (Request::TargetFirst(order), _) => order,
        request => return Ok(request),
    };
    // Who asks containerd gives up root's rights, which this process has to keep.
    Alone::check()
        .and_then(|alone| alone.child_to_its_end(|| say(socket, &image::target(&order), &[])))
        .map_err(Error::Clone)?;
    next()
}

/// Answers, and gives the process's exit status. The end of a helper makes an orphan of what it has
/// made: it waits until the shim knows of that, and has closed the socket.
fn say(socket: &OwnedFd, reply: &Reply, fds: &[OwnedFd]) -> u8 {
    if let Err(error) = answer(socket, reply, fds) {
        return complain(&error);
    }
    if reply.made().is_some() {
        // Nothing is ever sent: this is the socket's end, or as good as it.
        rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut [0; 1])).ok();
    }
    0
}

fn answer(socket: &OwnedFd, reply: &Reply, fds: &[OwnedFd]) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(reply)?;
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    medley_sys::message::send_document(socket, &bytes, &fds)
}

/// Says on stderr, which the shim reads, why there is no answer.
fn complain(error: &dyn std::error::Error) -> u8 {
    log_file::write(&format!("helper: {}", medley_types::sentence(error)));
    1
}
