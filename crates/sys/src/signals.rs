//! What signals do to a process that runs a Wasm guest.
//!
//! It is pid 1 of its namespace, where the kernel ignores every signal that has no handler, and a
//! guest has no way to install one. So each signal by whose default action a process ends gets a
//! handler that ends it. Those by whose default nothing happens, or a process stops or goes on, stay
//! as they are: pid 1 treats them as that of any Linux container does.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::transmute;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::child::LAST_SIGNAL;

/// Signals whose default action does not end a process, and the two that have no other.
const OTHERS: [c_int; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// Signals that a fault of the process's own code raises too: how an engine hears of traps.
const FAULTS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Signals that glibc keeps for itself, for the threads of a process that we have none of.
const OF_LIBC: std::ops::RangeInclusive<c_int> = 32..=33;

/// Exit statuses after a signal begin here.
const SIGNALLED: c_int = 128;

/// The handlers of faults that were there before ours.
static BEFORE: [AtomicUsize; FAULTS.len()] = [const { AtomicUsize::new(0) }; FAULTS.len()];

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Lets every signal that ends a process by default end this one at once with status 128 + its
/// number. Handlers of faults are kept for faults; the same signals sent by a process end it too.
///
/// Must be called after an engine has installed its own handlers.
///
/// # Errors
/// Those of `sigaction`.
pub fn exit_on_signals() -> io::Result<()> {
    for signal in (1..=LAST_SIGNAL).filter(|signal| !OTHERS.contains(signal)) {
        if let Some(at) = FAULTS.iter().position(|fault| *fault == signal) {
            // SAFETY: the handler does what the one before does, or ends the process.
            let before = unsafe { install(signal, end_unless_fault, libc::SA_NODEFER) }?;
            // What takes no more than the number is none of an engine's.
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                BEFORE[at].store(before.sa_sigaction, Ordering::SeqCst);
            }
        } else if signal == libc::SIGPIPE {
            // SAFETY: the handler ends the process, or does nothing.
            unsafe { install(signal, end_unless_own, libc::SA_RESTART) }?;
        } else if OF_LIBC.contains(&signal) {
            install_bare(signal)?;
        } else {
            // SAFETY: the handler ends the process.
            unsafe { install(signal, end, 0) }?;
        }
    }
    Ok(())
}

/// Lets one signal, which no fault raises, end this process at once with status 128 + its number.
///
/// # Errors
/// Those of `sigaction`.
pub fn exit_on_signal(signal: i32) -> io::Result<()> {
    // SAFETY: the handler ends the process.
    unsafe { install(signal, end, 0) }.map(drop)
}

/// What a process says on stderr before a fault of its own code ends it: no other process can have it
/// say so by a signal.
pub const FAULT: &str = "a fault of its own ended the process";

/// Has a fault of this process's own code say [`FAULT`] first. What was to handle faults still does, and
/// a signal that a process sends has its default effect.
///
/// # Errors
/// Those of `sigaction`.
pub fn tell_faults() -> io::Result<()> {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: the handler writes to a descriptor, and does what the one before does.
        let before = unsafe { install(signal, tell_fault, libc::SA_NODEFER) }?;
        let slot = FAULTS.iter().position(|fault| *fault == signal);
        if let Some(slot) = slot
            && before.sa_flags & libc::SA_SIGINFO != 0
        {
            BEFORE[slot].store(before.sa_sigaction, Ordering::SeqCst);
        }
    }
    Ok(())
}

unsafe extern "C" fn tell_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's own argument.
    if unsafe { was_sent(info) } {
        // SAFETY: async-signal-safe. It is sent again, and the kernel ends the process once this
        // handler has returned.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    for part in [FAULT.as_bytes(), b"\n"] {
        // SAFETY: async-signal-safe, and the bytes are ours. What can't be written is not said.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: the kernel's own arguments.
    unsafe { hand_on(signal, info, context) }
}

/// Whether a signal was sent by a process, rather than raised by the kernel.
///
/// # Safety
/// `info` is what the kernel gave to a handler.
unsafe fn was_sent(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller vouches that the kernel filled the structure in.
    unsafe { (*info).si_code <= 0 }
}

/// Ends the process as a signal does that nothing handles.
fn end_by(signal: c_int) -> ! {
    // SAFETY: _exit is async-signal-safe and touches nothing of the interrupted program.
    unsafe { libc::_exit(SIGNALLED + signal) }
}

unsafe extern "C" fn end(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    end_by(signal)
}

/// Of SIGPIPE: a write to what has no reader raises it in the writer's own name, and then the write
/// says so itself.
unsafe extern "C" fn end_unless_own(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a filled-in structure, of one that was sent with the sender; getpid
    // is async-signal-safe.
    let own = unsafe { (*info).si_pid() == libc::getpid() };
    if !own {
        end_by(signal)
    }
}

unsafe extern "C" fn end_unless_fault(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: the kernel's own argument.
    if unsafe { was_sent(info) } {
        end_by(signal)
    }
    // SAFETY: the kernel's own arguments.
    unsafe { hand_on(signal, info, context) }
}

/// Does about a fault what the handler before ours does; without one the kernel ends the process.
///
/// # Safety
/// The arguments are those that the kernel gave to a handler.
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let slot = FAULTS.iter().position(|fault| *fault == signal);
    let before = slot.map_or(0, |slot| BEFORE[slot].load(Ordering::SeqCst));
    if before > libc::SIG_IGN {
        // SAFETY: it was installed with SA_SIGINFO, and is of this type therefore.
        let before: Handler = unsafe { transmute::<usize, Handler>(before) };
        // SAFETY: the kernel's own arguments.
        unsafe { before(signal, info, context) }
    } else {
        // SAFETY: async-signal-safe. The fault happens again, and the kernel ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Installs a handler, and gives the one before.
///
/// # Safety
/// The handler is async-signal-safe.
unsafe fn install(signal: c_int, handler: Handler, flags: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // On the alternate stack if there is one: the guest's own stack may be used up.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is initialised, its handler is async-signal-safe by the caller's word, and
    // `before` is ours. rustix has no sigaction.
    if unsafe { libc::sigaction(signal, &raw const action, &raw mut before) } == 0 {
        Ok(before)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Installs [`end`] for a signal that libc refuses to.
fn install_bare(signal: c_int) -> io::Result<()> {
    /// The kernel's flag for a third word that says how a handler returns. This one does not.
    const SA_RESTORER: usize = 0x0400_0000;
    let flags = usize::try_from(libc::SA_SIGINFO | libc::SA_ONSTACK).unwrap_or_default();
    let end = end as *const () as usize;
    // The kernel's `sigaction`: handler, flags, restorer, mask.
    let action = [end, flags | SA_RESTORER, end, 0_usize];
    let none = std::ptr::null_mut::<usize>();
    // SAFETY: an array of the size of the kernel's structure, whose handler is async-signal-safe and
    // does not return; what was there before is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            none,
            size_of::<u64>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
