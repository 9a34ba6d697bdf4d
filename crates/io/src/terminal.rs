//! The shim's end of a terminal.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::termios::Winsize;

use crate::copy_output::{Copying, Sink, Source};
use crate::lock::lock;
use crate::master::Master;
use crate::terminal_input::Typing;
use crate::{Error, Size};

/// The FIFOs of a process with a terminal, and the terminal's master once there is one.
#[derive(Debug)]
pub(crate) struct Terminal(
    /// The state. Its lock is never held across a wait.
    Mutex<State>,
);

#[derive(Debug)]
enum State {
    /// The process does not exist yet.
    Waiting {
        input: Option<OwnedFd>,
        output: Sink,
        size: Option<Size>,
    },
    Connected {
        master: Arc<Master>,
        output: Copying,
        input: Option<Typing>,
    },
    Closed,
}

impl Terminal {
    /// `input` is a reading end with `O_NONBLOCK` set.
    pub(crate) fn new(input: Option<OwnedFd>, output: Sink) -> Self {
        Self(Mutex::new(State::Waiting {
            input,
            output,
            size: None,
        }))
    }

    /// Begins to copy.
    pub(crate) fn connect(&self, master: OwnedFd) -> Result<(), Error> {
        let failed = |what| move |source| Error::Terminal { what, source };
        let mut state = lock(&self.0);
        let State::Waiting {
            input,
            output,
            size,
        } = std::mem::replace(&mut *state, State::Closed)
        else {
            return Err(Error::NoTerminal);
        };
        // Only the shim has the master.
        rustix::io::ioctl_fionbio(&master, true)
            .map_err(|errno| failed("prepare")(errno.into()))?;
        if let Some(size) = size {
            set_size(&master, size)?;
        }
        let master = Arc::new(Master::new(master).map_err(failed("watch"))?);
        let source = Source::terminal(Arc::clone(&master));
        let input = match input {
            Some(input) => {
                let typing = Typing::start(input, &master);
                Some(typing.map_err(failed("watch the input of"))?)
            }
            None => None,
        };
        *state = State::Connected {
            master,
            output: Copying::start(source, output),
            input,
        };
        Ok(())
    }

    pub(crate) fn resize(&self, to: Size) -> Result<(), Error> {
        match &mut *lock(&self.0) {
            State::Waiting { size, .. } => *size = Some(to),
            State::Connected { master, .. } => set_size(master.now().get_ref(), to)?,
            State::Closed => return Err(Error::NoTerminal),
        }
        Ok(())
    }

    /// Waits until all output is copied, or its reader takes nothing.
    pub(crate) async fn drain(&self) {
        let drained = match &mut *lock(&self.0) {
            State::Connected { output, input, .. } => {
                *input = None;
                output.finish()
            }
            State::Waiting { .. } | State::Closed => return,
        };
        drained.await;
    }

    /// Closes the master: processes that still have the terminal get SIGHUP.
    pub(crate) fn close(&self) {
        *lock(&self.0) = State::Closed;
    }
}

fn set_size(master: &OwnedFd, size: Size) -> Result<(), Error> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(master, size).map_err(|errno| Error::Terminal {
        what: "set the size of",
        source: errno.into(),
    })
}
