//! The shim's end of a terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios, Winsize};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::copy::{self, Copying, Sink, Source, TRY_AGAIN, Trouble};
use crate::keeper::lock;
use crate::master::Master;
use crate::{Error, Size};

/// The FIFOs of a process with a terminal, and the terminal's master once it is there.
#[derive(Debug)]
pub(crate) struct Terminal(
    /// Guards how far it has come; held for an instant.
    Mutex<State>,
);

#[derive(Debug)]
enum State {
    /// The process is yet to be made.
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
    /// `input`, for reading, never blocks (`O_NONBLOCK`).
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
        // Only the shim has this end of it.
        rustix::io::ioctl_fionbio(&master, true)
            .map_err(|errno| failed("prepare")(errno.into()))?;
        if let Some(size) = size {
            set_size(&master, size)?;
        }
        let master = Arc::new(Master::new(master).map_err(failed("watch"))?);
        let source = Source::terminal(Arc::clone(&master));
        let input = match input {
            Some(input) => {
                let input = Input::new(input, &master).map_err(failed("watch the input of"))?;
                Some(Typing(tokio::spawn(input.run()).abort_handle()))
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

    /// Waits until all output is copied, as long as there is a reader.
    pub(crate) async fn settle(&self) {
        let settled = match &mut *lock(&self.0) {
            State::Connected { output, input, .. } => {
                *input = None;
                output.finish()
            }
            State::Waiting { .. } | State::Closed => return,
        };
        settled.await;
    }

    /// Hangs up.
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

/// Ends the task that types when it is dropped.
#[derive(Debug)]
struct Typing(AbortHandle);

impl Drop for Typing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Types what comes out of the FIFO.
struct Input {
    fifo: AsyncFd<OwnedFd>,
    master: Arc<Master>,
    keyboard: Arc<AsyncFd<OwnedFd>>,
    /// Whether the next character is the first of its line.
    at_line_start: bool,
}

impl Input {
    fn new(fifo: OwnedFd, master: &Arc<Master>) -> std::io::Result<Self> {
        Ok(Self {
            fifo: medley_sys::watch::reader(fifo)?,
            master: Arc::clone(master),
            keyboard: master.now(),
            at_line_start: true,
        })
    }

    async fn run(mut self) {
        if let Err(error) = self.type_all().await {
            log::warn!("the input of a terminal is lost: {error}");
        }
    }

    async fn type_all(&mut self) -> std::io::Result<()> {
        loop {
            let typed = {
                let mut ready = self.fifo.readable().await?;
                match copy::read_chunk(ready.get_inner().as_fd()) {
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                    Ok(typed) => typed,
                }
            };
            let Some(last) = typed.last() else {
                let end = self.end_of_input();
                return self.write(&end).await;
            };
            self.at_line_start = matches!(last, b'\n' | b'\r');
            self.write(&typed).await?;
            tokio::task::yield_now().await;
        }
    }

    /// What a person types at the end: Ctrl-D, and once more if the first only sends off a line
    /// that was begun.
    fn end_of_input(&self) -> Vec<u8> {
        /// Ctrl-D. It is what a program expects that reads its characters itself, as shells do.
        const END: u8 = 4;
        let termios: Option<Termios> = rustix::termios::tcgetattr(self.keyboard.get_ref()).ok();
        let (end, lines) = termios.map_or((END, true), |termios| {
            let lines = termios.local_modes.contains(LocalModes::ICANON);
            (termios.special_codes[SpecialCodeIndex::VEOF], lines)
        });
        if lines && !self.at_line_start {
            vec![end, end]
        } else {
            vec![if lines { end } else { END }]
        }
    }

    /// Watches the terminal anew.
    async fn renew(&mut self) {
        let mut trouble = Trouble::default();
        loop {
            match self.master.renew(&self.keyboard) {
                Ok(keyboard) => {
                    self.keyboard = keyboard;
                    return;
                }
                Err(error) => trouble.say("nothing can be typed for now", &error),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.keyboard.writable().await?;
            match rustix::io::write(ready.get_inner(), bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN) => {
                    // After a hang-up tokio calls it writable for good.
                    let stuck = ready.ready().is_write_closed();
                    ready.clear_ready();
                    drop(ready);
                    if stuck {
                        self.renew().await;
                    }
                }
                Err(Errno::INTR) => {}
                // No process has the terminal open just now.
                Err(Errno::IO) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
