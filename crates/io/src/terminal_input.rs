//! Copies a terminal's input from the client's FIFO to the master.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::copy_output::{self, TRY_AGAIN, Trouble};
use crate::master::Master;

/// The task that copies. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Typing(AbortHandle);

impl Typing {
    /// Begins to copy from `fifo`, which has `O_NONBLOCK` set.
    pub(crate) fn start(fifo: OwnedFd, master: &Arc<Master>) -> std::io::Result<Self> {
        let input = Input::new(fifo, master)?;
        Ok(Self(tokio::spawn(input.run()).abort_handle()))
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Copies from the FIFO to the terminal.
struct Input {
    fifo: AsyncFd<OwnedFd>,
    master: Arc<Master>,
    keyboard: Arc<AsyncFd<OwnedFd>>,
    /// Whether the next character begins a line.
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
                match copy_output::read_chunk(ready.get_inner().as_fd()) {
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

    /// Types Ctrl-D, the end of input. Within a line the first one only submits the line, so a second
    /// follows.
    fn end_of_input(&self) -> Vec<u8> {
        /// Ctrl-D. Programs that read single characters, as shells do, expect this one.
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

    /// Watches the terminal's renewed descriptor.
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
                    // After a hang-up tokio reports this descriptor as writable for ever.
                    let stuck = ready.ready().is_write_closed();
                    ready.clear_ready();
                    drop(ready);
                    if stuck {
                        self.renew().await;
                    }
                }
                Err(Errno::INTR) => {}
                // No process has the terminal open at present.
                Err(Errno::IO) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
