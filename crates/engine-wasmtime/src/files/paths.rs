//! Paths of a module's calls, and what comes of them.

use wasmtime_wasi::p1::types::{Errno, Error, Fd, Size};
use wiggle::{GuestMemory, GuestPtr, GuestType};

use super::resolve::PATH_MAX;

/// A path of a call, out of the guest's memory.
pub(super) struct Path {
    pub(super) dir: Fd,
    pub(super) path: String,
}

impl Path {
    pub(super) fn of(
        memory: &GuestMemory<'_>,
        dir: Fd,
        path: GuestPtr<str>,
    ) -> Result<Self, Error> {
        let path = text(memory, path)?;
        Ok(Self { dir, path })
    }

    /// Where it is in a memory of its own.
    pub(super) fn pointer(&self) -> GuestPtr<str> {
        pointer(&self.path)
    }
}

/// A path, or what a link is to hold, out of the guest's memory: no longer than the kernel takes it.
pub(super) fn text(memory: &GuestMemory<'_>, path: GuestPtr<str>) -> Result<String, Error> {
    if usize::try_from(path.len()).is_ok_and(|length| length >= PATH_MAX) {
        return Err(Errno::Nametoolong.into());
    }
    Ok(memory.as_cow_str(path)?.into_owned())
}

/// Where a path is in a memory of its own.
pub(super) fn pointer(path: &str) -> GuestPtr<str> {
    GuestPtr::new((0, u32::try_from(path.len()).unwrap_or(u32::MAX)))
}

/// What came of a call: `None` if it was refused as one that leaves its dir.
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
        Some(Os::ISDIR) => Errno::Isdir,
        Some(Os::NOTEMPTY) => Errno::Notempty,
        Some(Os::NOMEM) => Errno::Nomem,
        Some(Os::MFILE) => Errno::Mfile,
        Some(Os::NFILE) => Errno::Nfile,
        Some(Os::DQUOT) => Errno::Dquot,
        Some(Os::NXIO) => Errno::Nxio,
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

/// Writes what a poll has to tell into the guest's memory.
pub(super) fn put<T: GuestType>(
    memory: &mut GuestMemory<'_>,
    first: GuestPtr<T>,
    told: Vec<T>,
) -> Result<Size, Error> {
    let count = Size::try_from(told.len())?;
    for (at, event) in first.as_array(count).iter().zip(told) {
        memory.write(at?, event)?;
    }
    Ok(count)
}
