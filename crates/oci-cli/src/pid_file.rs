//! The file that a pid is written to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::args::{Args, Flag};
use crate::failure::Failure;

/// Where a pid is to be written.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    pub(crate) const FLAG: Flag = Flag::with(
        "pid-file",
        "",
        "FILE",
        "write the pid of the process to FILE",
    );

    /// The one that `args` name.
    pub(crate) fn of(args: &Args) -> Result<Option<Self>, Failure> {
        let named = args.value(Self::FLAG.name).filter(|path| !path.is_empty());
        let path = named.map(std::path::absolute).transpose();
        let path = path.map_err(Failure::when("find the directory of the pid file"))?;
        Ok(path.map(Self))
    }

    /// Writes it. A reader finds all of it, or no file.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Failure> {
        let Self(path) = self;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(path.file_name().unwrap_or_default());
        let unfinished = path.with_file_name(hidden);
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).open(&unfinished)?;
            file.write_all(pid.to_string().as_bytes())?;
            fs::rename(&unfinished, path)
        };
        write().map_err(Failure::when(format!(
            "write the pid file {}",
            path.display()
        )))
    }
}
