//! Native code that may be executed, as a type.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// What must be impossible with a file in memory before its content is executed.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK);

/// Native code that [`Engine::compile`](crate::Engine::compile) of this program made, in a file that
/// does not change.
///
/// [`Engine::load`](crate::Engine::load) maps it and executes it, so it takes this type and no file:
///
/// ```
/// # use medley_engine::{Engine, Entry, Form, TrustedCode};
/// fn load(engine: &dyn Engine, entry: &Entry, code: TrustedCode) {
///     let _program = engine.load(code, Form::Module, entry, None);
/// }
/// ```
/// ```compile_fail,E0308
/// # use medley_engine::{Engine, Entry, Form};
/// fn load(engine: &dyn Engine, entry: &Entry, file_of_an_image: std::fs::File) {
///     let _program = engine.load(file_of_an_image, Form::Module, entry, None);
/// }
/// ```
///
/// No safe code makes one of a file. Three places have the proof, and say it in a SAFETY comment: the
/// cache, of an entry whose digest it has checked; the check of what a compiler has sealed; and the
/// helper, which has the shim's word on the socket that only the shim holds. In the other crates of this
/// workspace `unsafe_code` is denied, but for the engines and the home of raw system calls.
///
/// ```compile_fail,E0133
/// # use medley_engine::TrustedCode;
/// fn trust(file_of_an_image: std::fs::File) -> TrustedCode {
///     TrustedCode::new(file_of_an_image)
/// }
/// ```
/// ```compile_fail,E0423
/// # use medley_engine::TrustedCode;
/// fn trust(file_of_an_image: std::fs::File) -> TrustedCode {
///     TrustedCode(file_of_an_image)
/// }
/// ```
#[derive(Debug)]
pub struct TrustedCode(File);

/// A compiler's output that can still be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compiler gave native code that may change")]
pub struct NotSealed;

impl TrustedCode {
    /// # Safety
    /// [`Engine::compile`](crate::Engine::compile) of this program made the content of `file`, and
    /// nothing changes it as long as the file is open or mapped: nothing that runs for a container
    /// can write to it.
    #[allow(unsafe_code, reason = "what is in the file will be executed")]
    #[must_use]
    pub unsafe fn new(file: File) -> Self {
        Self(file)
    }

    /// What a compiler sent, checked to be sealed: the compiler has read hostile bytes, and may have
    /// left a descriptor of the same file to another process.
    ///
    /// # Safety
    /// `file` came from a process that this program started as its compiler.
    ///
    /// # Errors
    /// [`NotSealed`].
    #[allow(unsafe_code, reason = "what is in the file will be executed")]
    pub unsafe fn from_compiler(file: OwnedFd) -> Result<Self, NotSealed> {
        match rustix::fs::fcntl_get_seals(&file) {
            Ok(seals) if seals.contains(SEALS) => Ok(Self(file.into())),
            _ => Err(NotSealed),
        }
    }

    /// The same code in a sealed file in memory, for where none may be mapped from the file itself.
    ///
    /// # Errors
    /// Those of reading the file and of `memfd_create`.
    pub fn copy_to_memory(mut self) -> io::Result<Self> {
        self.0.rewind()?;
        sealed(&mut self.0).map(Self)
    }

    /// The file, to look at.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The file, for an engine to map.
    #[must_use]
    pub fn into_file(self) -> File {
        self.0
    }
}

impl AsFd for TrustedCode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All of `code` in a file in memory that nothing can change any more, and that can be executed.
pub(crate) fn sealed(code: &mut dyn Read) -> io::Result<File> {
    let create = |flags| rustix::fs::memfd_create("medley-native", flags);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 don't know the flag, and let every memfd be mapped executable.
    let fd = create(flags | MemfdFlags::EXEC).or_else(|_| create(flags))?;
    let mut file = File::from(fd);
    io::copy(code, &mut file)?;
    rustix::fs::fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
#[allow(unsafe_code, reason = "nothing here is executed")]
mod tests {
    use super::{NotSealed, TrustedCode, sealed};
    use rustix::fs::MemfdFlags;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn only_a_sealed_file_is_taken_from_a_compiler() {
        let code = sealed(&mut &b"native"[..]).unwrap();
        // SAFETY: nothing executes it.
        assert!(unsafe { TrustedCode::from_compiler(code.into()) }.is_ok());
        let open = rustix::fs::memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap();
        let on_disk = File::open("/proc/self/exe").unwrap();
        for file in [open, on_disk.into()] {
            // SAFETY: nothing executes it.
            let refused = unsafe { TrustedCode::from_compiler(file) };
            assert_eq!(refused.unwrap_err(), NotSealed);
        }
    }

    #[test]
    fn a_copy_in_memory_is_whole_and_cannot_be_written_to() {
        let mut file = File::from(rustix::fs::memfd_create("open", MemfdFlags::empty()).unwrap());
        file.write_all(b"native").unwrap();
        // SAFETY: nothing executes it.
        let code = unsafe { TrustedCode::new(file) }.copy_to_memory().unwrap();
        let mut copy = code.into_file();
        let mut content = Vec::new();
        std::io::Seek::rewind(&mut copy).unwrap();
        copy.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"native");
        assert!(copy.write_all(b"x").is_err(), "the copy is not sealed");
    }
}
