//! A module, loaded and linked, and its run.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use medley_engine::invoke::{self, INITIALIZE, START};
use medley_engine::{Entry, Guest, GuestExit, ModuleError, Program, TrustedCode};

use crate::error::engine_error;
use crate::faults::Call;
use crate::ffi::{self, AstModule, Configure, Executor, FunctionInstance, ModuleInstance, Store};
use crate::imports;
use crate::owned::{Mode, Owned, check, configure, message, text};
use crate::plugins::{self, Plugins};
use crate::signature::{self, Signature};
use crate::{compile, wasi_ctx};

/// How a shared object begins.
const ELF: &[u8; 4] = b"\x7fELF";

/// Results of WasmEdge's execution phase: traps, in its `enum.inc`.
const TRAPS: std::ops::Range<u32> = 0x400..0x500;

/// A module with its imports found.
pub(crate) struct LinkedModule {
    configure: Owned<Configure>,
    module: Owned<AstModule>,
    plugins: Vec<plugins::Source>,
    path: PathBuf,
    export: String,
    /// Bytes of stack, where they are not the process's own.
    stack: Option<u64>,
}

impl LinkedModule {
    /// Maps what `compile` made.
    pub(crate) fn load(
        code: &TrustedCode,
        entry: &Entry,
        stack: Option<u64>,
    ) -> Result<Self, ModuleError> {
        let engine = |reason: &str| engine_error(entry, reason);
        let mut magic = [0; ELF.len()];
        code.file()
            .read_exact_at(&mut magic, 0)
            .map_err(|error| engine(&error.to_string()))?;
        // A library without a compiler leaves the module as it was. Nothing in that is native code.
        let mode = if magic == *ELF {
            Mode::Native
        } else {
            Mode::Interpreted
        };
        let configure = configure(mode).map_err(engine)?;
        let module = parse(&configure, code).map_err(engine)?;
        compile::validate(&configure, &module).map_err(engine)?;
        imports::check_export(&module, entry)?;
        let plugins = imports::check_imports(&module, entry, Some(&mut Plugins::default()))?;
        Ok(Self {
            configure,
            module,
            plugins,
            path: entry.path.clone(),
            export: imports::export(entry).to_owned(),
            stack,
        })
    }

    /// Registers what the module imports. All of it has to stay until the guest's end.
    fn register(
        &self,
        running: &Running,
        wasi: &Owned<ModuleInstance>,
    ) -> Result<Vec<Owned<ModuleInstance>>, String> {
        running.import(wasi)?;
        let mut instances = Vec::new();
        for source in &self.plugins {
            let instance = source
                .instance()
                .ok_or_else(|| format!("the plugin of {} makes no module", source.module))?;
            running.import(&instance)?;
            instances.push(instance);
        }
        Ok(instances)
    }

    /// How a call ended.
    fn ended(&self, result: ffi::Result, call: &Call, wasi: &Owned<ModuleInstance>) -> GuestExit {
        match result.code {
            ffi::SUCCESS => GuestExit::Exited(0),
            ffi::TERMINATED => {
                // SAFETY: the module of WASI lives.
                let code = unsafe { ffi::WasmEdge_ModuleInstanceWASIGetExitCode(wasi.get()) };
                // POSIX exit: the low eight bits.
                GuestExit::Exited(code.to_le_bytes()[0])
            }
            _ => {
                let path = self.path.display();
                // It takes every fault for an access to the memory.
                let what = if call.overflowed() {
                    "call stack exhausted"
                } else {
                    message(result)
                };
                GuestExit::Trapped(format!("{path}: wasm trap: {what}"))
            }
        }
    }
}

/// WasmEdge takes a shared object by path only. The helper still has the host's /proc.
fn path(code: &File) -> Result<CString, std::ffi::NulError> {
    /// How many paths this process has made. The loader knows what it has by its path, and the
    /// descriptor's number comes again: each path is written in a way of its own.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let own_way = "./".repeat(MADE.fetch_add(1, Ordering::Relaxed));
    CString::new(format!("/proc/self/fd/{own_way}{}", code.as_raw_fd()))
}

fn parse(
    configure: &Owned<Configure>,
    code: &TrustedCode,
) -> Result<Owned<AstModule>, &'static str> {
    let path = path(code.file()).map_err(|_| "its file has no path")?;
    let mut module = std::ptr::null_mut();
    // SAFETY: the configuration lives, and WasmEdge copies it; the path outlives the call. By
    // the code's type, `compile` of this program made it, and nothing changes it: it may be mapped,
    // and its constructors run. What is created is ours.
    unsafe {
        let loader = Owned::new(
            ffi::WasmEdge_LoaderCreate(configure.get()),
            ffi::WasmEdge_LoaderDelete,
        );
        let loader = loader.ok_or("it cannot load")?;
        check(ffi::WasmEdge_LoaderParseFromFile(
            loader.get(),
            &raw mut module,
            path.as_ptr(),
        ))?;
        Owned::new(module, ffi::WasmEdge_ASTModuleDelete).ok_or("it is no module")
    }
}

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;

/// Has every memory of the guest end where its container's limit, as it is now, would be passed.
/// WasmEdge can be told once, and of each memory alone.
fn limit(configure: &Owned<Configure>, guest: &Guest) {
    if let Some(max) = guest.memory.available()
        && let Ok(pages) = u32::try_from(max.bytes / PAGE)
    {
        // SAFETY: the configuration lives.
        unsafe { ffi::WasmEdge_ConfigureSetMaxMemoryPage(configure.get(), pages.max(1)) };
    }
}

/// Lets the stack of this process's first thread, on which the guest runs, grow so far. Nothing is
/// taken before it is used.
fn limit_stack(bytes: u64) -> std::io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is ours.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: `limit` is initialised.
    if got == 0 && unsafe { libc::setrlimit(libc::RLIMIT_STACK, &raw const limit) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// What runs the guest. Never deleted: the process ends with it.
struct Running {
    executor: *mut Executor,
    store: *mut Store,
}

impl Running {
    fn new(configure: &Owned<Configure>) -> Result<Self, String> {
        // SAFETY: the configuration lives, and WasmEdge copies it; there are no statistics.
        let (executor, store) = unsafe {
            (
                ffi::WasmEdge_ExecutorCreate(configure.get(), std::ptr::null_mut()),
                ffi::WasmEdge_StoreCreate(),
            )
        };
        if executor.is_null() || store.is_null() {
            return Err("wasmedge cannot make an executor".to_owned());
        }
        Ok(Self { executor, store })
    }

    fn import(&self, instance: &Owned<ModuleInstance>) -> Result<(), String> {
        // SAFETY: all three live.
        let result = unsafe {
            ffi::WasmEdge_ExecutorRegisterImport(self.executor, self.store, instance.get())
        };
        check(result).map_err(str::to_owned)
    }

    /// Instantiates the module, and runs its start section.
    fn instantiate(&self, module: &Owned<AstModule>) -> Result<*mut ModuleInstance, ffi::Result> {
        let mut instance = std::ptr::null_mut();
        // SAFETY: executor, store and module live. The instance stays until the process ends.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInstantiate(
                self.executor,
                &raw mut instance,
                self.store,
                module.get(),
            )
        };
        match result.code {
            ffi::SUCCESS => Ok(instance),
            _ => Err(result),
        }
    }

    /// The function that is exported by this name.
    fn find(&self, instance: *mut ModuleInstance, name: &str) -> Option<Function> {
        // SAFETY: the instance lives until the process ends, and with it what is found in it.
        unsafe {
            let it = ffi::WasmEdge_ModuleInstanceFindFunction(instance, text(name));
            if it.is_null() {
                return None;
            }
            let signature = Signature::new(ffi::WasmEdge_FunctionInstanceGetFunctionType(it));
            Some(Function { it, signature })
        }
    }

    /// Calls a function, and gives what can be shown of its results.
    fn call(
        &self,
        function: &Function,
        arguments: &[invoke::Value],
    ) -> (ffi::Result, impl Iterator<Item = invoke::Value>) {
        let signature = &function.signature;
        let arguments = signature.arguments(arguments);
        let mut results = signature.room();
        let length = |list: &[ffi::Value]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        // SAFETY: executor and function live; both lists are as long as is said, and WasmEdge
        // compares their lengths and types with the function's before it calls it.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInvoke(
                self.executor,
                function.it,
                arguments.as_ptr(),
                length(&arguments),
                results.as_mut_ptr(),
                length(&results),
            )
        };
        let kinds = signature.results().into_iter().zip(results);
        (
            result,
            kinds.filter_map(|(kind, value)| signature::number(kind, &value)),
        )
    }
}

/// A function of an instance.
struct Function {
    it: *mut FunctionInstance,
    signature: Signature,
}

impl Program for LinkedModule {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        let wasi = match wasi_ctx::wasi(guest) {
            Ok(wasi) => wasi,
            Err(error) => return GuestExit::NotStarted(error),
        };
        limit(&self.configure, guest);
        if let Some(stack) = self.stack
            && let Err(error) = limit_stack(stack)
        {
            return GuestExit::NotStarted(format!(
                "cannot set the limit of its stack to {stack} bytes: {error}"
            ));
        }
        let ready = Running::new(&self.configure)
            .and_then(|running| Ok((self.register(&running, &wasi)?, running)));
        let (_imports, running) = match ready {
            Ok(ready) => ready,
            Err(error) => return GuestExit::NotStarted(error),
        };
        let faults = Call::begin();
        let instance = match running.instantiate(&self.module) {
            Ok(instance) => instance,
            // A start section has run, and ended the guest.
            Err(result) if result.code == ffi::TERMINATED || TRAPS.contains(&result.code) => {
                started();
                return self.ended(result, &faults, &wasi);
            }
            Err(result) => return GuestExit::NotStarted(message(result).to_owned()),
        };
        let Some(function) = running.find(instance, &self.export) else {
            return GuestExit::NotStarted(format!("{} is no function", self.export));
        };
        let arguments = match invoke::numbers(&function.signature.parameters(), &guest.args) {
            Ok(arguments) => arguments,
            Err(reason) => return GuestExit::NotStarted(format!("{} {reason}", self.export)),
        };
        started();
        if self.export != START
            && self.export != INITIALIZE
            && let Some(initialize) = running.find(instance, INITIALIZE)
        {
            let (result, _) = running.call(&initialize, &[]);
            if result.code != ffi::SUCCESS {
                return self.ended(result, &faults, &wasi);
            }
        }
        let (result, results) = running.call(&function, &arguments);
        if result.code == ffi::SUCCESS {
            for number in results {
                invoke::write_line(&std::io::stdout(), &number);
            }
        }
        self.ended(result, &faults, &wasi)
    }
}
