//! In the helper and in init: what ties an init that waits to be started to the shim.
//!
//! Only the shim can start it: without a shim it would wait for ever. A pipe tells of the shim's end,
//! and the kernel watches it: init can't, since it waits in libcontainer's call and under its
//! container's seccomp filter. A container that was started lives on, as one of runc's does.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use medley_sys::lifeline;

/// The end of a pipe that is open as long as the shim lives. Its clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Lifeline(Rc<RefCell<Option<OwnedFd>>>);

impl Lifeline {
    /// Makes this process, and its clones, end when it is told of the shim's end:
    /// the first process of a pid namespace would hear of nothing that it has no handler for.
    pub(crate) fn tie(reader: &OwnedFd) -> io::Result<Self> {
        let end = lifeline::own_end(reader.as_fd())?;
        medley_sys::signals::exit_on_signal(lifeline::SIGNAL)?;
        Ok(Self(Rc::new(RefCell::new(Some(end)))))
    }

    /// Names init, which has inherited the pipe's end, as who is told. Its exec closes that.
    pub(crate) fn of(&self, init: i32) -> io::Result<()> {
        match &*self.0.borrow() {
            Some(end) => lifeline::tell_end(end, init),
            None => Ok(()),
        }
    }

    /// In an init that execs nothing: lets it outlive the shim from here on.
    pub(crate) fn let_go(&self) {
        drop(self.0.borrow_mut().take());
    }
}
