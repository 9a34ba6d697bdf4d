//! The capabilities of a process that a program is executed in.

use std::io;

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// How many a set has room for. The kernel has fewer.
const ROOM: u32 = u64::BITS;

/// Sets of capabilities, each with a bit for each of them by its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What can be had at most, by what is executed.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What can be put in force.
    pub permitted: u64,
    /// What a program may have that is executed from a file with capabilities.
    pub inheritable: u64,
    /// What every program has that is executed.
    pub ambient: u64,
}

impl Capabilities {
    /// Has this thread have these and no others, for good. What can't be made ambient is left out, as runc
    /// does. What is to be inheritable and not permitted has to be so already.
    ///
    /// # Errors
    /// Those of `prctl` and `capset`: `EPERM` for one that the thread does not have.
    pub fn apply(self) -> io::Result<()> {
        be_effective()?;
        limit(self.bounding)?;
        let set = CapabilitySet::from_bits_retain;
        let sets = CapabilitySets {
            effective: set(self.effective),
            permitted: set(self.permitted),
            inheritable: set(self.inheritable),
        };
        thread::set_capabilities(None, sets)?;
        thread::clear_ambient_capability_set()?;
        for one in singles().filter(|one| self.ambient & one.bits() != 0) {
            match thread::configure_capability_in_ambient_set(one, true) {
                // It is not permitted, or not inheritable.
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Makes effective what is permitted, of which a change of user has left none: to give capabilities up takes
/// one.
///
/// # Errors
/// Those of `capset`.
pub fn be_effective() -> io::Result<()> {
    let sets = thread::capabilities(None)?;
    if sets.effective == sets.permitted {
        return Ok(());
    }
    let effective = sets.permitted;
    Ok(thread::set_capabilities(
        None,
        CapabilitySets { effective, ..sets },
    )?)
}

/// Takes all but these out of the bounding set. Without a look at what is in it: a call for one that is not
/// is as cheap as the look.
fn limit(bounding: u64) -> io::Result<()> {
    for one in singles().filter(|one| bounding & one.bits() == 0) {
        let removed = match thread::remove_capability_from_bounding_set(one) {
            // What is not in there need not be given up, for which this thread lacks the right.
            Err(Errno::PERM) => match thread::capability_is_in_bounding_set(one) {
                Ok(false) => Ok(()),
                Ok(true) => Err(Errno::PERM),
                Err(errno) => Err(errno),
            },
            removed => removed,
        };
        match removed {
            Ok(()) => {}
            // The kernel knows neither this one nor those above it.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Each capability by itself.
fn singles() -> impl Iterator<Item = CapabilitySet> {
    (0..ROOM).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

#[cfg(test)]
mod tests {
    use super::Capabilities;
    use rustix::thread;

    /// The sets of the thread that it is called on, by their names in its status.
    fn seen(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim_start_matches(':').trim(), 16).unwrap()
    }

    /// Capabilities are a thread's: what it gives up, others keep.
    #[test]
    fn a_thread_has_what_it_is_left_and_no_more() {
        std::thread::spawn(|| {
            let own = thread::capabilities(None).unwrap().permitted.bits();
            // Without root none can be kept, and the bounding set not be changed.
            let kept = own & (1 << 5 | 1 << 10);
            let bounding = if own == 0 { seen("CapBnd") } else { kept };
            let wanted = Capabilities {
                bounding,
                effective: kept & 1 << 5,
                permitted: kept,
                inheritable: kept,
                ambient: kept,
            };
            wanted.apply().unwrap();
            assert_eq!(seen("CapBnd"), bounding);
            assert_eq!(seen("CapEff"), kept & 1 << 5);
            for set in ["CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(seen(set), kept, "{set}");
            }
            Capabilities {
                bounding,
                ..Capabilities::default()
            }
            .apply()
            .unwrap();
            for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(seen(set), 0, "{set}");
            }
            // What is gone does not come back.
            let again = Capabilities {
                permitted: 1 << 5,
                ..wanted
            };
            let error = again.apply().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        })
        .join()
        .unwrap();
    }
}
