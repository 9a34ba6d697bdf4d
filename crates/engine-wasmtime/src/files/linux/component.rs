//! The calls, as a component of WASI 0.2 does them.

use rustix::fs::FileType;
use rustix::io::Errno as Os;
use tokio::runtime::Runtime;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, NewTimestamp, OpenFlags,
    PathFlags,
};

use super::super::Files;
use super::super::component_files::same;
use super::calls::{
    Call, Does, FREE, HELD, MARK, OTHER_DIR, OTHER_FILE, Open, Outcome, TIME, told,
};
use super::module::guest;
use super::tree::Tree;
use crate::limiter::BudgetLimiter;
use crate::store_data::{ProcessShared, StoreData};

pub(super) struct Component {
    host: StoreData,
    runtime: Runtime,
    dir: Resource<Descriptor>,
    root: String,
}

impl Component {
    pub(super) fn new(tree: &Tree) -> Self {
        let guest = guest(tree);
        let context = crate::wasi_ctx::builder(&guest).unwrap().build();
        let limiter = BudgetLimiter::new(&guest.memory);
        let mut host = StoreData::new(context, ProcessShared::new(&guest).unwrap(), limiter);
        let mut dirs = host.filesystem().get_directories().unwrap();
        Self {
            host,
            runtime: crate::wasi_ctx::runtime().unwrap(),
            dir: dirs.remove(0).0,
            root: tree.path().display().to_string(),
        }
    }

    fn tries(&mut self, call: Call, path: &str) -> FsResult<String> {
        let at = path.to_owned();
        let root = same(&self.dir);
        let also = same(&self.dir);
        let mut files = Files(&mut self.host);
        let runtime = &self.runtime;
        let none = PathFlags::empty();
        match call {
            Call::Open(how) => return self.opens(how, at),
            Call::ReadLink => {
                let held = runtime.block_on(files.readlink_at(root, at))?;
                return Ok(held.replace(&self.root, ""));
            }
            Call::Stat { follow } => {
                let stat = runtime.block_on(files.stat_at(root, looking(follow), at))?;
                let time = stat.data_modification_timestamp.unwrap().seconds;
                return Ok(told(kind(stat.type_), i64::try_from(time).unwrap()));
            }
            Call::SetTimes { follow } => {
                let time = NewTimestamp::Timestamp(Datetime {
                    seconds: TIME.into(),
                    nanoseconds: 0,
                });
                let look = looking(follow);
                runtime.block_on(files.set_times_at(root, look, at, time, time))?;
            }
            Call::MakeDir => runtime.block_on(files.create_directory_at(root, at))?,
            Call::RemoveDir => runtime.block_on(files.remove_directory_at(root, at))?,
            Call::RemoveFile => runtime.block_on(files.unlink_file_at(root, at))?,
            Call::MoveFrom => runtime.block_on(files.rename_at(root, at, also, FREE.into()))?,
            Call::MoveFile => {
                runtime.block_on(files.rename_at(root, OTHER_FILE.into(), also, at))?
            }
            Call::MoveDir => {
                runtime.block_on(files.rename_at(root, OTHER_DIR.into(), also, at))?;
            }
            Call::LinkFrom => runtime.block_on(files.link_at(root, none, at, also, FREE.into()))?,
            Call::LinkTo => {
                runtime.block_on(files.link_at(root, none, OTHER_FILE.into(), also, at))?;
            }
            Call::Symlink { absolute } => {
                let held = HELD[usize::from(absolute)].to_owned();
                runtime.block_on(files.symlink_at(root, held, at))?;
            }
        }
        Ok(String::new())
    }

    fn opens(&mut self, how: Open, at: String) -> FsResult<String> {
        let mut flags = OpenFlags::empty();
        for (flag, is_set) in [
            (OpenFlags::CREATE, how.create),
            (OpenFlags::EXCLUSIVE, how.exclusive),
            (OpenFlags::TRUNCATE, how.truncate),
            (OpenFlags::DIRECTORY, how.dir),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        let mut mode = DescriptorFlags::READ;
        if how.write {
            mode |= DescriptorFlags::WRITE;
        }
        let (root, look) = (same(&self.dir), looking(how.follow));
        let mut files = Files(&mut self.host);
        let runtime = &self.runtime;
        let fd = runtime.block_on(files.open_at(root, look, at, flags, mode))?;
        let kind = runtime.block_on(files.get_type(same(&fd)))?;
        if kind == DescriptorType::Directory {
            runtime.block_on(files.create_directory_at(fd, MARK.into()))?;
            return Ok("folder".to_owned());
        }
        if how.write {
            runtime.block_on(files.write(fd, MARK.into(), 0))?;
            return Ok("file".to_owned());
        }
        let (bytes, _) = runtime.block_on(files.read(fd, 64, 0))?;
        Ok(String::from_utf8(bytes).unwrap())
    }
}

impl Does for Component {
    fn does(&mut self, call: Call, path: &str) -> Outcome {
        self.tries(call, path)
            .map_err(|error| number(error.downcast().unwrap()))
    }
}

fn looking(follow: bool) -> PathFlags {
    if follow {
        PathFlags::SYMLINK_FOLLOW
    } else {
        PathFlags::empty()
    }
}

fn kind(kind: DescriptorType) -> FileType {
    match kind {
        DescriptorType::Directory => FileType::Directory,
        DescriptorType::RegularFile => FileType::RegularFile,
        DescriptorType::SymbolicLink => FileType::Symlink,
        _ => FileType::Unknown,
    }
}

/// Linux's number of an error.
fn number(code: ErrorCode) -> i32 {
    let os = match code {
        ErrorCode::Access => Os::ACCESS,
        ErrorCode::Busy => Os::BUSY,
        ErrorCode::Exist => Os::EXIST,
        ErrorCode::Invalid => Os::INVAL,
        ErrorCode::IsDirectory => Os::ISDIR,
        ErrorCode::Loop => Os::LOOP,
        ErrorCode::NoEntry => Os::NOENT,
        ErrorCode::NotDirectory => Os::NOTDIR,
        ErrorCode::NotEmpty => Os::NOTEMPTY,
        ErrorCode::NotPermitted => Os::PERM,
        other => panic!("{other:?}"),
    };
    os.raw_os_error()
}
