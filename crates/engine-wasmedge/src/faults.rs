//! Traps that arrive as signals: WasmEdge's handler, on a stack that it can run on.
//!
//! WasmEdge installs its handler for SIGSEGV, SIGBUS and SIGFPE at every call, and does not ask for the
//! alternate stack. A guest that has used up its stack would then not trap, but be killed: there is
//! no room for the handler. So the function by which it does that is ours, in every program that
//! uses this crate: it asks for the alternate stack, which Rust has set up for each thread, and
//! keeps in mind where the fault was.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{SA_ONSTACK, SA_SIGINFO, SIGBUS, SIGFPE, SIGSEGV, siginfo_t};

/// Most that a guest's stack can hold, in bytes. A fault so far below the stack's top is in it, or
/// in its guard; memories of guests lie farther away, gigabytes large.
const STACK_MAX: usize = 64 << 20;

/// WasmEdge's handlers, of SIGSEGV, SIGBUS and SIGFPE, as they were last asked for. 0 for none.
static HANDLERS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

thread_local! {
    /// Where the thread's last fault was. Without initialiser and destructor, as a handler needs it.
    static FAULT: Cell<usize> = const { Cell::new(0) };
}

type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

unsafe extern "C" {
    /// libc's own, under its other name.
    fn __sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int;
}

/// The handlers of a signal's slot, for the signals that are faults.
fn slot(signal: c_int) -> Option<&'static AtomicUsize> {
    match signal {
        SIGSEGV => Some(&HANDLERS[0]),
        SIGBUS => Some(&HANDLERS[1]),
        SIGFPE => Some(&HANDLERS[2]),
        _ => None,
    }
}

/// Takes the place of libc's function of this name.
///
/// # Safety
/// Those of libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's: `new` is null or an action.
    let requested = unsafe { new.as_ref() };
    let (Some(slot), Some(requested)) = (slot(signal), requested) else {
        // SAFETY: of the caller's call, handed on as it is.
        return unsafe { __sigaction(signal, new, old) };
    };
    if requested.sa_flags & SA_SIGINFO == 0 || requested.sa_flags & SA_ONSTACK != 0 {
        // Not WasmEdge's, or it knows how: Rust's own handler is one such.
        // SAFETY: as above.
        return unsafe { __sigaction(signal, new, old) };
    }
    slot.store(requested.sa_sigaction, Ordering::SeqCst);
    let mut ours: libc::sigaction = *requested;
    ours.sa_flags |= SA_ONSTACK;
    ours.sa_sigaction = on_fault as *const () as usize;
    // SAFETY: an action like the caller's, with a handler of the same kind, which is
    // async-signal-safe but for what it calls, the caller's own.
    unsafe { __sigaction(signal, &raw const ours, old) }
}

/// Keeps the address in mind, and goes on in WasmEdge's handler, which does not return.
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a filled-in structure. What a process sent is no fault.
    if unsafe { (*info).si_code } <= 0 {
        // SAFETY: _exit is async-signal-safe and touches nothing of the interrupted program.
        unsafe { libc::_exit(128 + signal) }
    }
    // SAFETY: as above; for these signals it has an address.
    let fault = unsafe { (*info).si_addr() } as usize;
    if signal != SIGFPE {
        FAULT.set(fault);
    }
    let handler = slot(signal).map_or(0, |slot| slot.load(Ordering::SeqCst));
    if handler != 0 {
        // SAFETY: what was given for a handler with SA_SIGINFO, which is of this type; this one is
        // installed for no other signal.
        let handler: Handler = unsafe { transmute::<usize, Handler>(handler) };
        // SAFETY: the kernel's own arguments.
        unsafe { handler(signal, info, context) }
    }
}

/// A call into a guest, to tell afterwards whether its stack was used up.
pub(crate) struct Call {
    top: usize,
}

impl Call {
    /// To be made right before the call, in a function that is below it on the stack.
    pub(crate) fn begin() -> Self {
        // What is only there to be found by the library is not to be left out by the linker.
        std::hint::black_box(sigaction as *const ());
        FAULT.set(0);
        let here = 0_u8;
        Self {
            top: std::hint::black_box(&raw const here) as usize,
        }
    }

    /// Whether the last fault since was in the stack.
    pub(crate) fn overflowed(&self) -> bool {
        let fault = FAULT.get();
        fault != 0 && fault < self.top && self.top - fault <= STACK_MAX
    }
}
