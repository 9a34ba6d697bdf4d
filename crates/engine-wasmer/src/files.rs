//! The container's files, as WASIX takes them.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use rustix::fs::StatVfsMountFlags;
use tokio::runtime::Handle;
use wasmer_wasix::FsError;
use wasmer_wasix::virtual_fs::{
    FileOpener, FileSystem, Metadata, OpenOptions, OpenOptionsConfig, ReadDir, VirtualFile, host_fs,
};

type Result<T> = std::result::Result<T, FsError>;

/// The root file system as it is, but that a change is not permitted where nothing can be changed.
///
/// WASIX opens a file for writing too, and only for reading where that is not permitted. Wasmer has
/// no name for what a read-only mount says, so that nothing in one could be read.
#[derive(Debug, Clone)]
pub(crate) struct Files(host_fs::FileSystem);

impl Files {
    pub(crate) fn new(handle: &Handle, root: &str) -> Result<Self> {
        host_fs::FileSystem::new(handle.clone(), root).map(Self)
    }
}

/// `result` of a change at `path`.
fn changed<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        FsError::UnknownError if is_read_only(path) => FsError::PermissionDenied,
        error => error,
    })
}

/// Whether `path`, or the dir that it would be in, can't be written to by any user.
fn is_read_only(path: &Path) -> bool {
    let path = Path::new("/").join(path);
    let mut found = path
        .ancestors()
        .filter_map(|path| rustix::fs::statvfs(path).ok());
    found
        .next()
        .is_some_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

impl FileOpener for Files {
    fn open(
        &self,
        path: &Path,
        how: &OpenOptionsConfig,
    ) -> Result<Box<dyn VirtualFile + Send + Sync + 'static>> {
        let opened = self.0.new_open_options().options(how.clone()).open(path);
        changed(path, opened)
    }
}

impl FileSystem for Files {
    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        self.0.readlink(path)
    }

    fn read_dir(&self, path: &Path) -> Result<ReadDir> {
        self.0.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        changed(path, self.0.create_dir(path))
    }

    fn create_symlink(&self, source: &Path, target: &Path) -> Result<()> {
        changed(target, self.0.create_symlink(source, target))
    }

    fn hard_link(&self, source: &Path, target: &Path) -> Result<()> {
        changed(target, self.0.hard_link(source, target))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        changed(path, self.0.remove_dir(path))
    }

    fn rename<'a>(
        &'a self,
        from: &'a Path,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move { changed(to, self.0.rename(from, to).await) })
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.0.metadata(path)
    }

    fn symlink_metadata(&self, path: &Path) -> Result<Metadata> {
        self.0.symlink_metadata(path)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        changed(path, self.0.remove_file(path))
    }

    fn new_open_options(&self) -> OpenOptions<'_> {
        OpenOptions::new(self)
    }
}
