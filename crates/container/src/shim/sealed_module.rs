//! A module in memory, where it cannot be changed, with the digest of just these bytes.

use std::fs::File;
use std::io::{self, Seek};

use medley_image::cache::{self, MAX_MODULE};
use medley_image::digest;
use rustix::fs::{MemfdFlags, SealFlags};

use super::error::Error;

/// What keeps a file in memory from being changed.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK);

/// A module that was read once, so that its digest is that of what is compiled.
#[derive(Debug)]
pub(super) struct SealedModule {
    file: File,
    digest: String,
    bytes: u64,
}

impl SealedModule {
    /// `module` as it is now: the file itself if it is sealed, as one that a helper has read out of an
    /// image, and otherwise a copy. The digest is taken here, for the shim trusts none that a helper
    /// gives it: what reads an image reads hostile bytes.
    pub(super) fn of(module: &File) -> Result<Self, Error> {
        cache::size(module)?;
        let is_sealed = rustix::fs::fcntl_get_seals(module).is_ok_and(|it| it.contains(SEALS));
        let (file, digest) = if is_sealed {
            let digest = digest::of_file(module).map_err(cache::Error::Module)?;
            (module.try_clone().map_err(Error::Spawn)?, digest)
        } else {
            copy(module)?
        };
        let bytes = cache::size(&file)?;
        Ok(Self {
            file,
            digest,
            bytes,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Its SHA-256.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A sealed copy of what is in `module`, and its digest.
fn copy(module: &File) -> Result<(File, String), Error> {
    copy_up_to(module, MAX_MODULE).map_err(|error| match error.kind() {
        // It has grown meanwhile.
        io::ErrorKind::FileTooLarge => {
            let size = module.metadata().map_or(0, |file| file.len());
            cache::Error::TooLarge { size }.into()
        }
        _ => Error::Spawn(error),
    })
}

fn copy_up_to(module: &File, max: u64) -> io::Result<(File, String)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("medley-module", flags)?);
    let digest = digest::copy(module, &mut copy, max)?;
    rustix::fs::fcntl_add_seals(&copy, SEALS | SealFlags::SEAL)?;
    copy.rewind()?;
    Ok((copy, digest))
}

#[cfg(test)]
mod tests {
    use super::{SealedModule, copy_up_to};
    use medley_image::digest;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    /// Even if its file changes afterwards.
    #[test]
    fn a_module_is_compiled_as_it_was_copied() {
        let path = std::env::temp_dir().join(format!("medley-module-{}", std::process::id()));
        std::fs::write(&path, b"\0asm of one").unwrap();
        let module = SealedModule::of(&File::open(&path).unwrap()).unwrap();
        std::fs::write(&path, b"\0asm of two").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut copy = module.file();
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0asm of one");
        assert_eq!(module.digest(), digest::of_bytes(&bytes));
        assert_eq!(module.bytes(), 11);
        assert!(copy.write_all(b"x").is_err(), "the copy is not sealed");
    }

    #[test]
    fn no_more_is_copied_of_a_module_that_grows() {
        let mut file = tempfile();
        file.write_all(&[0; 8]).unwrap();
        assert!(copy_up_to(&file, 8).is_ok());
        file.set_len(1 << 40).unwrap();
        let error = copy_up_to(&file, 8).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_sealed_module_is_not_copied_again() {
        let mut file = tempfile();
        file.write_all(b"\0asm").unwrap();
        let copied = SealedModule::of(&file).unwrap();
        assert_ne!(inode(copied.file()), inode(&file));
        let same = SealedModule::of(copied.file()).unwrap();
        assert_eq!(inode(same.file()), inode(copied.file()));
        assert_eq!(same.digest(), copied.digest());
    }

    fn tempfile() -> File {
        let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
        rustix::fs::memfd_create("module", flags).unwrap().into()
    }

    fn inode(file: &File) -> (u64, u64) {
        let found = file.metadata().unwrap();
        (found.dev(), found.ino())
    }
}
