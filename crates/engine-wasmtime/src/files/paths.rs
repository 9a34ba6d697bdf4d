//! Paths of a module's calls, and what comes of them.

use wasmtime_wasi::p1::types::{Errno, Error, Fd};
use wiggle::{GuestMemory, GuestPtr};

/// A path of a call, out of the guest's memory.
pub(super) struct Path {
    pub(super) folder: Fd,
    pub(super) path: String,
}

impl Path {
    pub(super) fn of(
        memory: &GuestMemory<'_>,
        folder: Fd,
        path: GuestPtr<str>,
    ) -> Result<Self, Error> {
        Ok(Self {
            folder,
            path: memory.as_cow_str(path)?.into_owned(),
        })
    }

    /// Where it is in a memory of its own.
    pub(super) fn pointer(&self) -> GuestPtr<str> {
        GuestPtr::new((0, u32::try_from(self.path.len()).unwrap_or(u32::MAX)))
    }
}

/// What came of a call: `None` if it was refused as one that leaves its folder.
pub(super) fn unless_refused<T>(result: Result<T, Error>) -> Option<Result<T, Error>> {
    match result {
        Ok(value) => Some(Ok(value)),
        Err(error) => match error.downcast() {
            Ok(Errno::Perm) => None,
            Ok(errno) => Some(Err(errno.into())),
            Err(trap) => Some(Err(Error::trap(trap))),
        },
    }
}

/// As Wasmtime says it.
pub(super) fn refused<T>() -> Result<T, Error> {
    Err(Errno::Perm.into())
}

/// A memory, and two paths in it.
type Both = (Vec<u8>, GuestPtr<str>, GuestPtr<str>);

/// Two paths in one memory.
pub(super) fn both(one: Path, other: Path) -> Result<Both, Error> {
    let first = one.pointer();
    let mut bytes = one.path.into_bytes();
    bytes.extend(other.path.as_bytes());
    let second = GuestPtr::new((first.len(), other.pointer().len()));
    Ok((bytes, first, second))
}

/// An error of the system, as a module hears of it.
pub(super) fn errno(error: &std::io::Error) -> Errno {
    use rustix::io::Errno as Os;
    match error.raw_os_error().map(Os::from_raw_os_error) {
        Some(Os::EXIST) => Errno::Exist,
        Some(Os::NOENT) => Errno::Noent,
        Some(Os::NOTDIR) => Errno::Notdir,
        Some(Os::ACCESS) => Errno::Acces,
        Some(Os::LOOP) => Errno::Loop,
        Some(Os::INVAL) => Errno::Inval,
        Some(Os::ILSEQ) => Errno::Ilseq,
        Some(Os::NOSPC) => Errno::Nospc,
        Some(Os::ROFS) => Errno::Rofs,
        Some(Os::NAMETOOLONG) => Errno::Nametoolong,
        Some(Os::PERM) => Errno::Perm,
        _ => Errno::Io,
    }
}
