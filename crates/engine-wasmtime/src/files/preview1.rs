//! What is kept of WASI preview 1 for a module: Wasmtime's own part, where the dirs are that it has
//! open, and what its descriptors mean.

use medley_engine::{Guest, Preopen};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{
    Errno, Error, Event, Fd, Lookupflags, Prestat, Size, Subscription, SubscriptionU,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr, GuestType};

use super::dirs::{Elsewhere, PreopenDir, PreopenDirs};
use super::numbers::Numbers;
use super::paths::{Path, errno};
use super::resolve::Last;
use super::streams::{self, Stream};

/// What the engine keeps of WASI for a module.
pub(crate) struct Preview1 {
    pub(super) inner: WasiP1Ctx,
    /// By Wasmtime's descriptors.
    pub(super) dirs: PreopenDirs,
    pub(super) numbers: Numbers,
    /// How many bytes a call may have copied.
    pub(super) fuel: usize,
}

impl Preview1 {
    pub(crate) fn new(mut inner: WasiP1Ctx, guest: &Guest) -> Self {
        let (given, end) = given(&mut inner, &guest.preopens);
        Self {
            inner,
            dirs: PreopenDirs {
                given,
                ..PreopenDirs::default()
            },
            numbers: Numbers::new(end),
            fuel: 0,
        }
    }

    /// The descriptor of Wasmtime's that is meant to be read from, or asked about.
    pub(super) fn read(&self, fd: Fd) -> Fd {
        self.numbers.read(fd.into()).into()
    }

    /// The one that is meant to be written to.
    pub(super) fn write(&self, fd: Fd) -> Fd {
        self.numbers.write(fd.into()).into()
    }

    /// Gives a descriptor to a stream.
    pub(super) fn open(&mut self, stream: Stream) -> Result<Fd, Errno> {
        Ok(self.numbers.open(stream)?.into())
    }

    /// Closes what no number means any more.
    pub(super) async fn close(&mut self, fd: Option<u32>) -> Result<(), Error> {
        let Some(fd) = fd else {
            return Ok(());
        };
        self.dirs.opened.remove(&fd);
        self.dirs.given.retain(|dir| dir.handle != fd);
        let memory = &mut GuestMemory::Unshared(&mut []);
        self.inner.fd_close(memory, fd.into()).await
    }

    /// Gives a number to what was opened, and keeps in mind where that is.
    pub(super) fn opened(&mut self, path: &Path, fd: Fd) -> Result<Fd, Error> {
        let dir = path.dir.into();
        self.dirs.open(dir, &path.path, fd.into());
        Ok(self.numbers.give(fd.into())?.into())
    }

    /// Where a call that was refused is to be tried again.
    pub(super) async fn elsewhere(&mut self, path: &Path, last: Last) -> Result<Elsewhere, Errno> {
        let dir = u32::from(path.dir);
        self.check(dir).await?;
        let elsewhere = self.dirs.elsewhere(dir, &path.path, last);
        elsewhere.map_err(|error| errno(&error))
    }

    /// The stream that a path means, if its name is one that a stream may have.
    pub(super) async fn stream(&mut self, path: &Path, follow: bool) -> Option<Stream> {
        if !follow || !streams::may_be_one(&path.path) {
            return None;
        }
        match self.elsewhere(path, Last::Followed).await {
            Ok(Elsewhere::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Refuses a dir whose place, where it was opened, is another one's by now.
    pub(super) async fn check(&mut self, dir: u32) -> Result<(), Errno> {
        if self.is_where_it_was(dir).await {
            Ok(())
        } else {
            Err(Errno::Perm)
        }
    }

    /// The dir and the path by which a refused call is to be tried again: the same, if it is
    /// refused here too, or no file is there.
    pub(super) async fn again(&mut self, path: Path, last: Last) -> Result<Path, Error> {
        match self.elsewhere(&path, last).await {
            Ok(Elsewhere::Beneath(dir, path)) => {
                let dir = Fd::from(dir);
                Ok(Path { dir, path })
            }
            Ok(Elsewhere::Stream(_)) | Err(Errno::Perm) => Ok(path),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the place where it was opened is still its own.
    async fn is_where_it_was(&mut self, dir: u32) -> bool {
        let Ok(Elsewhere::Beneath(around, rest)) = self.dirs.elsewhere(dir, ".", Last::Followed)
        else {
            return false;
        };
        let none = &mut GuestMemory::Unshared(&mut []);
        let own = self.inner.fd_filestat_get(none, dir.into()).await;
        let (pointer, mut bytes) = (super::paths::pointer(&rest), rest.into_bytes());
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        let flags = Lookupflags::empty();
        let there = self
            .inner
            .path_filestat_get(memory, around.into(), flags, pointer)
            .await;
        matches!((own, there), (Ok(own), Ok(there)) if own.ino == there.ino)
    }

    /// Waits for one of these. It does not touch the guest's own memory.
    pub(super) async fn poll(
        &mut self,
        mut subscriptions: Vec<Subscription>,
    ) -> Result<Vec<Event>, Error> {
        for subscription in &mut subscriptions {
            match &mut subscription.u {
                SubscriptionU::FdRead(of) => of.file_descriptor = self.read(of.file_descriptor),
                SubscriptionU::FdWrite(of) => of.file_descriptor = self.write(of.file_descriptor),
                SubscriptionU::Clock(_) => {}
            }
        }
        let count = Size::try_from(subscriptions.len())?;
        let room = (Subscription::guest_size() + Event::guest_size()).checked_mul(count);
        let room = room.ok_or(Errno::Overflow)?;
        // One more than is needed, for where the first one is aligned as they have to be.
        let mut bytes = vec![0_u8; usize::try_from(room)? + ALIGNED];
        let start = u32::try_from(bytes.as_ptr().align_offset(ALIGNED))?;
        let requested = GuestPtr::<Subscription>::new(start);
        let events = GuestPtr::<Event>::new(start + Subscription::guest_size() * count);
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        for (place, subscription) in requested.as_array(count).iter().zip(subscriptions) {
            memory.write(place?, subscription)?;
        }
        let told = self
            .inner
            .poll_oneoff(memory, requested, events, count)
            .await?;
        let told = events.as_array(told);
        told.iter().map(|event| Ok(memory.read(event?)?)).collect()
    }

    /// The subscriptions of a poll, as many as a call may have copied.
    pub(super) fn subscriptions<T: GuestType>(
        &self,
        memory: &GuestMemory<'_>,
        first: GuestPtr<T>,
        count: Size,
    ) -> Result<Vec<T>, Error> {
        let size = usize::try_from(T::guest_size())?.checked_mul(usize::try_from(count)?);
        if size.is_none_or(|size| size > self.fuel) {
            return Err(Errno::Nomem.into());
        }
        let subscriptions = first.as_array(count);
        subscriptions
            .iter()
            .map(|at| Ok(memory.read(at?)?))
            .collect()
    }
}

/// What the structures of a poll are aligned to.
const ALIGNED: usize = 8;

/// The dirs that a guest finds open, and the first number after them.
fn given(inner: &mut WasiP1Ctx, preopens: &[Preopen]) -> (Vec<PreopenDir>, u32) {
    let mut dirs = Vec::new();
    let mut handle = 3;
    loop {
        let fd = Fd::from(handle);
        let Ok(Prestat::Dir(dir)) = inner.fd_prestat_get(&mut GuestMemory::Unshared(&mut []), fd)
        else {
            return (dirs, handle);
        };
        let mut name = vec![0; usize::try_from(dir.pr_name_len).unwrap_or_default()];
        let mut memory = GuestMemory::Unshared(&mut name);
        let told = inner.fd_prestat_dir_name(&mut memory, fd, GuestPtr::new(0), dir.pr_name_len);
        if let (Ok(()), Ok(name)) = (told, str::from_utf8(&name)) {
            dirs.extend(PreopenDir::named(name, handle, preopens));
        }
        handle += 1;
    }
}

#[cfg(test)]
mod tests;
