//! The calls, as a module of WASI preview 1 does them.

use medley_engine::{Guest, Preopen};
use rustix::fs::FileType;
use rustix::io::Errno as Os;
use tokio::runtime::Runtime;
use wasmtime_wasi::p1::types::{
    Ciovec, Errno, Error, Fd, Fdflags, Filetype, Fstflags, Iovec, Lookupflags, Oflags, Rights,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::super::Preview1;
use super::calls::{
    Call, Does, FREE, HELD, MARK, OTHER_DIR, OTHER_FILE, Open, Outcome, TIME, told,
};
use super::tree::Tree;

/// The first dir that is open.
const ROOT: u32 = 3;

/// Where the second text is, a buffer, and its vector.
const SECOND: u32 = 8192;
const BUFFER: u32 = 16384;
const VECTOR: u32 = 32768;

pub(super) struct Module {
    files: Preview1,
    runtime: Runtime,
    bytes: Vec<u8>,
    root: String,
}

/// A guest that has a tree as its only dir.
pub(super) fn guest(tree: &Tree) -> Guest {
    Guest {
        cwd: "/".to_owned(),
        preopens: vec![Preopen::at(tree.path().display().to_string(), false)],
        ..Guest::default()
    }
}

impl Module {
    pub(super) fn new(tree: &Tree) -> Self {
        let guest = guest(tree);
        let context = crate::wasi_ctx::builder(&guest).unwrap().build_p1();
        Self {
            files: Preview1::new(context, &guest),
            runtime: crate::wasi_ctx::runtime().unwrap(),
            bytes: vec![0; 65536],
            root: tree.path().display().to_string(),
        }
    }

    fn put(&mut self, at: u32, text: &str) -> GuestPtr<str> {
        let start = at as usize;
        self.bytes[start..start + text.len()].copy_from_slice(text.as_bytes());
        GuestPtr::new((at, u32::try_from(text.len()).unwrap()))
    }

    fn tries(&mut self, call: Call, path: &str) -> Result<String, Error> {
        let other = match call {
            Call::MoveFile | Call::LinkTo => OTHER_FILE,
            Call::MoveDir => OTHER_DIR,
            Call::Symlink { absolute } => HELD[usize::from(absolute)],
            _ => FREE,
        };
        let (at, other) = (self.put(0, path), self.put(SECOND, other));
        let root = Fd::from(ROOT);
        let memory = &mut GuestMemory::Unshared(&mut self.bytes);
        let files = &mut self.files;
        files.set_hostcall_fuel(1 << 20);
        let none = Lookupflags::empty();
        let done = match call {
            Call::Open(how) => return self.opens(how, at),
            Call::ReadLink => return self.reads_link(at),
            Call::Stat { follow } => {
                let stat = files.path_filestat_get(memory, root, looking(follow), at);
                let stat = self.runtime.block_on(stat)?;
                let time = i64::try_from(stat.mtim / 1_000_000_000).unwrap();
                return Ok(told(kind(stat.filetype), time));
            }
            Call::SetTimes { follow } => {
                let (time, which) = (
                    u64::from(TIME) * 1_000_000_000,
                    Fstflags::ATIM | Fstflags::MTIM,
                );
                let look = looking(follow);
                self.runtime.block_on(
                    files.path_filestat_set_times(memory, root, look, at, time, time, which),
                )
            }
            Call::MakeDir => self
                .runtime
                .block_on(files.path_create_directory(memory, root, at)),
            Call::RemoveDir => self
                .runtime
                .block_on(files.path_remove_directory(memory, root, at)),
            Call::RemoveFile => self
                .runtime
                .block_on(files.path_unlink_file(memory, root, at)),
            Call::MoveFrom => self
                .runtime
                .block_on(files.path_rename(memory, root, at, root, other)),
            Call::MoveFile | Call::MoveDir => self
                .runtime
                .block_on(files.path_rename(memory, root, other, root, at)),
            Call::LinkFrom => self
                .runtime
                .block_on(files.path_link(memory, root, none, at, root, other)),
            Call::LinkTo => self
                .runtime
                .block_on(files.path_link(memory, root, none, other, root, at)),
            Call::Symlink { .. } => self
                .runtime
                .block_on(files.path_symlink(memory, other, root, at)),
        };
        done.map(|()| String::new())
    }

    fn opens(&mut self, how: Open, at: GuestPtr<str>) -> Result<String, Error> {
        let mut flags = Oflags::empty();
        flags.set(Oflags::CREAT, how.create);
        flags.set(Oflags::EXCL, how.exclusive);
        flags.set(Oflags::TRUNC, how.truncate);
        flags.set(Oflags::DIRECTORY, how.dir);
        let mut rights = Rights::FD_READ;
        rights.set(Rights::FD_WRITE, how.write);
        let (look, root) = (looking(how.follow), Fd::from(ROOT));
        let memory = &mut GuestMemory::Unshared(&mut self.bytes);
        let plain = Fdflags::empty();
        let open = self
            .files
            .path_open(memory, root, look, at, flags, rights, rights, plain);
        let fd = self.runtime.block_on(open)?;
        let stat = self
            .runtime
            .block_on(self.files.fd_filestat_get(memory, fd))?;
        if stat.filetype == Filetype::Directory {
            let mark = self.put(0, MARK);
            let memory = &mut GuestMemory::Unshared(&mut self.bytes);
            self.runtime
                .block_on(self.files.path_create_directory(memory, fd, mark))?;
            return Ok("folder".to_owned());
        }
        if how.write {
            let mark = self.put(BUFFER, MARK);
            let memory = &mut GuestMemory::Unshared(&mut self.bytes);
            let (buf, buf_len) = (GuestPtr::new(mark.offset().0), mark.len());
            let vector = GuestPtr::<Ciovec>::new(VECTOR);
            memory.write(vector, Ciovec { buf, buf_len }).unwrap();
            self.runtime
                .block_on(self.files.fd_write(memory, fd, vector.as_array(1)))?;
            return Ok("file".to_owned());
        }
        let memory = &mut GuestMemory::Unshared(&mut self.bytes);
        let vector = GuestPtr::<Iovec>::new(VECTOR);
        let (buf, buf_len) = (GuestPtr::new(BUFFER), 64);
        memory.write(vector, Iovec { buf, buf_len }).unwrap();
        let read = self
            .runtime
            .block_on(self.files.fd_read(memory, fd, vector.as_array(1)))?;
        Ok(self.text(read))
    }

    fn reads_link(&mut self, at: GuestPtr<str>) -> Result<String, Error> {
        let memory = &mut GuestMemory::Unshared(&mut self.bytes);
        let (root, buffer) = (Fd::from(ROOT), GuestPtr::new(BUFFER));
        let read = self.files.path_readlink(memory, root, at, buffer, 4096);
        let read = self.runtime.block_on(read)?;
        Ok(self.text(read).replace(&self.root, ""))
    }

    fn text(&self, length: u32) -> String {
        let start = BUFFER as usize;
        String::from_utf8(self.bytes[start..start + length as usize].to_vec()).unwrap()
    }
}

impl Does for Module {
    fn does(&mut self, call: Call, path: &str) -> Outcome {
        self.tries(call, path)
            .map_err(|error| number(error.downcast().unwrap()))
    }
}

fn looking(follow: bool) -> Lookupflags {
    if follow {
        Lookupflags::SYMLINK_FOLLOW
    } else {
        Lookupflags::empty()
    }
}

fn kind(kind: Filetype) -> FileType {
    match kind {
        Filetype::Directory => FileType::Directory,
        Filetype::RegularFile => FileType::RegularFile,
        Filetype::SymbolicLink => FileType::Symlink,
        _ => FileType::Unknown,
    }
}

/// Linux's number of an error.
fn number(errno: Errno) -> i32 {
    let os = match errno {
        Errno::Acces => Os::ACCESS,
        Errno::Busy => Os::BUSY,
        Errno::Exist => Os::EXIST,
        Errno::Inval => Os::INVAL,
        Errno::Isdir => Os::ISDIR,
        Errno::Loop => Os::LOOP,
        Errno::Noent => Os::NOENT,
        Errno::Notdir => Os::NOTDIR,
        Errno::Notempty => Os::NOTEMPTY,
        Errno::Perm => Os::PERM,
        other => panic!("{other:?}"),
    };
    os.raw_os_error()
}
