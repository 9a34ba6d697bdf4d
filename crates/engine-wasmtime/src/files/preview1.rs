//! What is kept of WASI preview 1 for a module: Wasmtime's own part, where the folders are that it has
//! open, and the streams that it has opened as files.

use std::collections::HashMap;
use std::path::PathBuf;

use medley_engine::Guest;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Prestat, Size, Subscription};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::paths::Path;
use super::{Folder, Folders, Stream};

/// The first descriptor of what is opened here, far above those that Wasmtime gives out.
pub(super) const FIRST: u32 = 1 << 20;

/// How many streams a guest may have open as files, more than any has use for.
const MOST: usize = 1 << 12;

/// Of a subscription: bytes, where its kind is, and where the descriptor of those that have one.
const SUBSCRIPTION: (u32, u32, u32) = (48, 8, 16);

/// The kinds of a subscription to a descriptor.
const OF_DESCRIPTORS: [u8; 2] = [1, 2];

/// The descriptors that stand for a stream which was opened as a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    read: u32,
    write: u32,
}

/// What the engine keeps of WASI for a module.
pub(crate) struct Preview1 {
    pub(super) inner: WasiP1Ctx,
    pub(super) folders: Folders,
    pub(super) streams: HashMap<u32, Standing>,
    next: u32,
}

impl Preview1 {
    pub(crate) fn new(mut inner: WasiP1Ctx, guest: &Guest) -> Self {
        let given = given(&mut inner, guest);
        Self {
            inner,
            folders: Folders {
                given,
                ..Folders::default()
            },
            streams: HashMap::new(),
            next: FIRST,
        }
    }

    /// Wasmtime's own part.
    pub(crate) fn inner(&mut self) -> &mut WasiP1Ctx {
        &mut self.inner
    }

    /// The descriptor that is meant to be read from, or asked about.
    pub(super) fn read(&self, fd: Fd) -> Fd {
        let standing = self.streams.get(&u32::from(fd));
        standing.map_or(fd, |standing| standing.read.into())
    }

    /// The one that is meant to be written to.
    pub(super) fn write(&self, fd: Fd) -> Fd {
        let standing = self.streams.get(&u32::from(fd));
        standing.map_or(fd, |standing| standing.write.into())
    }

    /// Gives a descriptor to a stream.
    pub(super) fn open(&mut self, stream: Stream) -> Result<Fd, Errno> {
        let (read, write) = match stream {
            Stream::Stdin => (0, 0),
            Stream::Stdout => (1, 1),
            Stream::Stderr => (2, 2),
            // What the container's own streams are then.
            Stream::Terminal if stream.file().is_ok() => (0, 1),
            Stream::Terminal => return Err(Errno::Nxio),
        };
        if self.streams.len() >= MOST {
            return Err(Errno::Nfile);
        }
        while self.streams.contains_key(&self.next) {
            self.next = self.next.checked_add(1).unwrap_or(FIRST);
        }
        let fd = self.next;
        self.next = fd.checked_add(1).unwrap_or(FIRST);
        self.streams.insert(fd, Standing { read, write });
        Ok(fd.into())
    }

    /// The folder and the path by which a refused call is to be tried again.
    pub(super) fn again(&self, refused: &Path, follow: bool) -> Option<(Fd, Path)> {
        let folder = u32::from(refused.folder);
        let (folder, path) = self
            .folders
            .beneath_another(folder, &refused.path, follow)?;
        let folder = Fd::from(folder);
        Some((folder, Path { folder, path }))
    }

    /// Writes into the subscriptions of a poll, for the length of the call, the descriptors that stand
    /// for streams. Gives where that was, and what was there before.
    pub(super) fn stand_in(
        &self,
        memory: &mut GuestMemory<'_>,
        subs: GuestPtr<Subscription>,
        count: Size,
    ) -> Result<Vec<(GuestPtr<u32>, u32)>, Error> {
        let mut changed = Vec::new();
        if self.streams.is_empty() {
            return Ok(changed);
        }
        let (size, kind, fd) = SUBSCRIPTION;
        let first = subs.offset();
        for number in 0..count {
            let at = |offset: u32| {
                first
                    .checked_add(number.checked_mul(size)?)?
                    .checked_add(offset)
            };
            let (Some(kind), Some(fd)) = (at(kind), at(fd)) else {
                return Err(Errno::Fault.into());
            };
            let kind: u8 = memory.read(GuestPtr::new(kind))?;
            if !OF_DESCRIPTORS.contains(&kind) {
                continue;
            }
            let fd = GuestPtr::<u32>::new(fd);
            let given: u32 = memory.read(fd)?;
            let Some(standing) = self.streams.get(&given) else {
                continue;
            };
            let meant = if kind == OF_DESCRIPTORS[0] {
                standing.read
            } else {
                standing.write
            };
            memory.write(fd, meant)?;
            changed.push((fd, given));
        }
        Ok(changed)
    }
}

/// The folders that a guest finds open.
fn given(inner: &mut WasiP1Ctx, guest: &Guest) -> Vec<Folder> {
    let mut folders = Vec::new();
    for handle in 3_u32.. {
        let fd = Fd::from(handle);
        let Ok(Prestat::Dir(dir)) = inner.fd_prestat_get(&mut GuestMemory::Unshared(&mut []), fd)
        else {
            break;
        };
        let mut name = vec![0; usize::try_from(dir.pr_name_len).unwrap_or_default()];
        let mut memory = GuestMemory::Unshared(&mut name);
        let told = inner.fd_prestat_dir_name(&mut memory, fd, GuestPtr::new(0), dir.pr_name_len);
        let (Ok(()), Ok(name)) = (told, String::from_utf8(name)) else {
            continue;
        };
        let named = guest.preopens.iter().rev().find(|known| known.name == name);
        if let Some(preopen) = named {
            folders.push(Folder {
                handle,
                path: PathBuf::from(&preopen.path),
                read_only: preopen.read_only,
            });
        }
    }
    folders
}
