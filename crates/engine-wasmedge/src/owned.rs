//! WasmEdge's objects, each deleted once.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use crate::ffi::{self, Configure, Text};

/// An object of WasmEdge that is ours.
pub(crate) struct Owned<T> {
    it: NonNull<T>,
    delete: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes the object into care; `None` if there is none.
    ///
    /// # Safety
    /// `it` is null, or nothing else deletes it and `delete` may.
    pub(crate) unsafe fn new(it: *mut T, delete: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(it).map(|it| Self { it, delete })
    }

    pub(crate) fn get(&self) -> *mut T {
        self.it.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: of `new`: it lives, and this is its destructor.
        unsafe { (self.delete)(self.it.as_ptr()) }
    }
}

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By native code, if the module has any. Only for what our own compiler made.
    Native,
    /// By the interpreter: native code in a module is never run.
    Interpreted,
}

/// Proposals that Wasmtime has on by default too.
const PROPOSALS: [c_int; 4] = [
    ffi::TAIL_CALL,
    ffi::EXTENDED_CONST,
    ffi::MULTI_MEMORIES,
    ffi::THREADS,
];

/// The one configuration of the engine, but for the mode.
pub(crate) fn configure(mode: Mode) -> Result<Owned<Configure>, &'static str> {
    // SAFETY: a function without preconditions. It writes into the guest's stdout otherwise.
    unsafe { ffi::WasmEdge_LogOff() };
    // SAFETY: what was just created is ours, and the function beside it is its destructor.
    let it = unsafe {
        Owned::new(
            ffi::WasmEdge_ConfigureCreate(),
            ffi::WasmEdge_ConfigureDelete,
        )
    };
    let it = it.ok_or("it cannot be configured")?;
    for proposal in PROPOSALS {
        // SAFETY: the configuration lives, and the number is one of the enumeration.
        unsafe { ffi::WasmEdge_ConfigureAddProposal(it.get(), proposal) };
    }
    // SAFETY: the configuration lives.
    unsafe {
        ffi::WasmEdge_ConfigureSetForceInterpreter(it.get(), mode == Mode::Interpreted);
        ffi::WasmEdge_ConfigureCompilerSetOptimizationLevel(it.get(), ffi::O2);
        ffi::WasmEdge_ConfigureCompilerSetOutputFormat(it.get(), ffi::NATIVE);
    }
    Ok(it)
}

/// WasmEdge's words for a result that is no success.
pub(crate) fn check(result: ffi::Result) -> Result<(), &'static str> {
    match result.code {
        ffi::SUCCESS => Ok(()),
        _ => Err(message(result)),
    }
}

/// WasmEdge's words for a result.
pub(crate) fn message(result: ffi::Result) -> &'static str {
    // SAFETY: it returns a string of a table in the library, which ends with NUL.
    let text = unsafe { CStr::from_ptr(ffi::WasmEdge_ResultGetMessage(result)) };
    text.to_str().unwrap_or("an unknown error")
}

/// `text` as WasmEdge takes it. It must outlive the call that it is made for.
pub(crate) fn text(text: &str) -> Text {
    Text {
        // No name is that long; one that were would not be found.
        length: u32::try_from(text.len()).unwrap_or_default(),
        bytes: text.as_ptr().cast(),
    }
}

/// A copy of a string of WasmEdge.
///
/// # Safety
/// The object that it was asked of lives.
pub(crate) unsafe fn owned_text(text: Text) -> String {
    if text.bytes.is_null() {
        return String::new();
    }
    let length = usize::try_from(text.length).unwrap_or_default();
    // SAFETY: WasmEdge says that so many bytes are there, and they live, by the contract.
    let bytes = unsafe { std::slice::from_raw_parts(text.bytes.cast::<u8>(), length) };
    String::from_utf8_lossy(bytes).into_owned()
}
