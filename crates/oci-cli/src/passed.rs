//! Descriptors that the caller has for the container's program.

use std::os::fd::OwnedFd;

use medley_sys::child;

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;

/// The option that says how many there are.
pub(crate) const PRESERVE: Flag = Flag::with(
    "preserve-fds",
    "",
    "N",
    "pass N descriptors on, which follow stdio and those of LISTEN_FDS",
);

/// The first that is not stdio.
pub(crate) const FIRST: i32 = 3;

/// Most of them.
const MAX: usize = 200;

/// What is passed on to a program, and the variables that tell of it.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) env: Vec<String>,
}

impl Passed {
    /// Those of systemd's socket activation, and as many as `args` says.
    pub(crate) fn take(global: &Global, args: &Args) -> Result<Self, Failure> {
        let preserved = args.number::<usize>(PRESERVE.name)?.unwrap_or(0);
        let listening = listening();
        let count = listening + preserved;
        if count > MAX {
            return Err(Failure::new(format!(
                "{count} descriptors are to be passed on: at most {MAX} are"
            )));
        }
        let fds = (FIRST..).take(count).map(|number| {
            let at = usize::try_from(number - FIRST).unwrap_or(usize::MAX);
            let fd = if at < global.inherited {
                child::clone_inherited(number)
            } else {
                Err(rustix::io::Errno::BADF.into())
            };
            fd.map_err(|error| {
                Failure::new(format!(
                    "unable to stat preserved-fd {at} (of {preserved}): {error}"
                ))
            })
        });
        let fds = fds.collect::<Result<_, _>>()?;
        let env = if listening > 0 {
            vec![format!("LISTEN_FDS={listening}"), "LISTEN_PID=1".to_owned()]
        } else {
            Vec::new()
        };
        Ok(Self { fds, env })
    }
}

/// How many sockets systemd, or who does as it does, has opened for us.
fn listening() -> usize {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_for_us = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_for_us);
    count.and_then(|count| count.try_into().ok()).unwrap_or(0)
}
