//! A child that is given descriptors beside its stdio.

use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::fs::{Mode, OFlags};

/// The first descriptor after stdin, stdout and stderr.
const FIRST: i32 = 3;

/// Runs `program` with these arguments and no environment but `env`, each entry `NAME=value`. Its
/// stdio is `/dev/null`, and `fds` are its descriptors 3, 4, and so on. Answers its pid; it is a
/// child of the calling process.
///
/// # Errors
/// Those of opening the program and executing it.
pub fn with_descriptors(
    program: &Path,
    args: &[String],
    env: &[String],
    fds: &[BorrowedFd<'_>],
) -> io::Result<i32> {
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let path = text(program.as_os_str())?;
    let args = args.iter().map(|arg| text(arg.as_ref()));
    let args = std::iter::once(Ok(path.clone()))
        .chain(args)
        .collect::<Result<Vec<_>, _>>()?;
    let env = env.iter().map(|entry| text(entry.as_ref()));
    let env = env.collect::<Result<Vec<_>, _>>()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // Out of the way first: no descriptor is overwritten that is yet to be given.
    let above = FIRST + i32::try_from(fds.len()).map_err(io::Error::other)?;
    let fds = fds
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, above))
        .collect::<Result<Vec<OwnedFd>, _>>()?;

    let mut actions = Actions::new()?;
    for stream in 0..FIRST {
        actions.give(&null, stream)?;
    }
    for (target, fd) in (FIRST..).zip(&fds) {
        actions.give(fd, target)?;
    }
    let attributes = Attributes::new()?;
    let mut pid = 0;
    let mut argv: Vec<_> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    argv.push(ptr::null_mut());
    let mut envp: Vec<_> = env.iter().map(|entry| entry.as_ptr().cast_mut()).collect();
    envp.push(ptr::null_mut());
    // SAFETY: the path and every element of both arrays are NUL-terminated strings that outlive
    // the call, the arrays end with a null pointer and are not written to, and actions and
    // attributes are initialised. The safe `Command` can give a child no more than three
    // descriptors.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    succeeded(result)?;
    Ok(pid)
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What the child does before it is the program.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it initialises what the pointer points to, memory of the right size.
        succeeded(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    /// Makes `fd` the child's descriptor `target`, which stays open when it is executed.
    fn give(&mut self, fd: &OwnedFd, target: i32) -> io::Result<()> {
        // SAFETY: `self.0` is initialised, and the descriptors are only numbers here.
        succeeded(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd.as_raw_fd(), target)
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// What the child does not inherit: which signals are blocked, and which are ignored.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: it initialises what the pointer points to, memory of the right size.
        succeeded(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: sigemptyset and sigfillset initialise the sets that the calls after them read; the
        // attributes are initialised.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            succeeded(libc::posix_spawnattr_setsigmask(
                &raw mut attributes.0,
                none.as_ptr(),
            ))?;
            succeeded(libc::posix_spawnattr_setsigdefault(
                &raw mut attributes.0,
                all.as_ptr(),
            ))?;
            succeeded(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::with_descriptors;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::path::Path;

    /// Descriptors, arguments and environment.
    #[test]
    fn a_child_has_what_it_is_given() {
        let (mut read, write) = std::io::pipe().unwrap();
        let (mut other, also) = std::io::pipe().unwrap();
        let script = "echo $0 $1 $A $HOME >&4; echo first >&3; readlink /proc/self/fd/0 >&3";
        let args = ["-c", script, "zero", "one"].map(str::to_owned);
        // Neither in order nor out of the way.
        let fds = [write.as_fd(), also.as_fd()];
        let pid = with_descriptors(Path::new("/bin/sh"), &args, &["A=b".to_owned()], &fds).unwrap();
        drop((write, also));
        let (mut first, mut second) = (String::new(), String::new());
        read.read_to_string(&mut first).unwrap();
        other.read_to_string(&mut second).unwrap();
        assert_eq!(first, "first\n/dev/null\n");
        assert_eq!(second, "zero one b\n");
        let pid = rustix::process::Pid::from_raw(pid);
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        let (_, status) = ended.unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn a_child_ignores_no_signal() {
        // SAFETY: a valid disposition; nothing sends the signal to this process.
        let old = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        assert_eq!(old, libc::SIG_DFL);
        let (mut read, write) = std::io::pipe().unwrap();
        let args = ["-c", "grep SigIgn /proc/self/status >&3"].map(str::to_owned);
        let pid = with_descriptors(Path::new("/bin/sh"), &args, &[], &[write.as_fd()]).unwrap();
        drop(write);
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
        let mut said = String::new();
        read.read_to_string(&mut said).unwrap();
        let mask = said.strip_prefix("SigIgn:").unwrap().trim();
        // But for the two of glibc, 32 and 33, which its posix_spawn has every child ignore.
        let ignored = u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31);
        assert_eq!(ignored, 0, "{said}");
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_here() {
        let error = with_descriptors(Path::new("/no/such/program"), &[], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
}
