//! The calls, as a Linux program does them.

use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::calls::{
    Call, Does, FREE, HELD, MARK, OTHER_DIR, OTHER_FILE, Open, Outcome, TIME, told,
};
use super::tree::Tree;

pub(super) struct CompiledModule(String);

impl CompiledModule {
    pub(super) fn new(tree: &Tree) -> Self {
        Self(tree.path().display().to_string())
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }

    fn tries(&self, call: Call, path: &str) -> Result<String, Errno> {
        let at = self.at(path);
        match call {
            Call::Open(how) => return open(how, &at),
            Call::Stat { follow } => {
                let stat = rustix::fs::statat(CWD, at, looking(follow))?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                return Ok(told(kind, stat.st_mtime));
            }
            Call::ReadLink => {
                let held = rustix::fs::readlinkat(CWD, at, Vec::new())?;
                return Ok(held.to_str().unwrap().replace(&self.0, ""));
            }
            Call::SetTimes { follow } => {
                let time = Timespec {
                    tv_sec: TIME.into(),
                    tv_nsec: 0,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                rustix::fs::utimensat(CWD, at, &times, looking(follow))?;
            }
            Call::MakeDir => rustix::fs::mkdir(at, Mode::from_raw_mode(0o777))?,
            Call::RemoveDir => rustix::fs::rmdir(at)?,
            Call::RemoveFile => rustix::fs::unlink(at)?,
            Call::MoveFrom => rustix::fs::rename(at, self.at(FREE))?,
            Call::MoveFile => rustix::fs::rename(self.at(OTHER_FILE), at)?,
            Call::MoveDir => rustix::fs::rename(self.at(OTHER_DIR), at)?,
            Call::LinkFrom => rustix::fs::link(at, self.at(FREE))?,
            Call::LinkTo => rustix::fs::link(self.at(OTHER_FILE), at)?,
            Call::Symlink { absolute } => rustix::fs::symlink(HELD[usize::from(absolute)], at)?,
        }
        Ok(String::new())
    }
}

impl Does for CompiledModule {
    fn does(&mut self, call: Call, path: &str) -> Outcome {
        self.tries(call, path).map_err(Errno::raw_os_error)
    }
}

fn looking(follow: bool) -> AtFlags {
    if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    }
}

fn open(how: Open, path: &str) -> Result<String, Errno> {
    let mut flags = OFlags::CLOEXEC;
    flags.set(OFlags::RDWR, how.write);
    flags.set(OFlags::NOFOLLOW, !how.follow);
    flags.set(OFlags::CREATE, how.create);
    flags.set(OFlags::EXCL, how.exclusive);
    flags.set(OFlags::TRUNC, how.truncate);
    flags.set(OFlags::DIRECTORY, how.dir);
    let fd = rustix::fs::open(Path::new(path), flags, Mode::from_raw_mode(0o666))?;
    let mut file = std::fs::File::from(fd);
    if file.metadata().unwrap().is_dir() {
        rustix::fs::mkdirat(&file, MARK, Mode::from_raw_mode(0o777))?;
        return Ok("folder".to_owned());
    }
    if how.write {
        file.write_all(MARK.as_bytes()).unwrap();
        return Ok("file".to_owned());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    Ok(text)
}
