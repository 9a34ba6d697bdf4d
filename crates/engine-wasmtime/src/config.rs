//! The configurations of the engine: compiler and init must agree on every part of them.

use std::sync::OnceLock;

use medley_engine::{STACK, STACK_LIMITS};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How code is compiled, by what it is for. Code of one profile is refused by the engine of
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// One guest for the life of its process, which a signal ends.
    Command,
    /// Many guests in one process, none of which may keep the others from running: their code
    /// looks at the epoch in every loop.
    Server,
    /// A command of WASI 0.3, which may have several calls under way. Its store keeps account of
    /// every call, of which those of WASI 0.2 are spared.
    ConcurrentCommand,
    /// A server of WASI 0.3.
    ConcurrentServer,
}

impl Profile {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 4] = [
        Self::Command,
        Self::Server,
        Self::ConcurrentCommand,
        Self::ConcurrentServer,
    ];

    /// The one for a component that is a server or not, of WASI 0.3 or not.
    pub(crate) fn of(serves: bool, concurrent: bool) -> Self {
        match (serves, concurrent) {
            (false, false) => Self::Command,
            (true, false) => Self::Server,
            (false, true) => Self::ConcurrentCommand,
            (true, true) => Self::ConcurrentServer,
        }
    }

    pub(crate) fn serves(self) -> bool {
        matches!(self, Self::Server | Self::ConcurrentServer)
    }

    pub(crate) fn is_concurrent(self) -> bool {
        matches!(self, Self::ConcurrentCommand | Self::ConcurrentServer)
    }

    /// What stands for it behind native code.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The one that `number` stands for.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Part of the fingerprint, which has Wasmtime's own list of the settings of [`Profile::Command`] but
/// not of the other profiles. Increase it with every change of what those add.
pub(crate) const PROFILES: u32 = 2;

/// Requests that are handled at the same time, at most.
pub(crate) const SLOTS: u32 = 512;

/// Stacks for each of them where several of its calls may be under way: one for each call that
/// waits in the middle of a function.
const STACKS: u32 = 4;

/// Linear memories, for all of them. Each takes 4 GiB of address space, and nothing else until it
/// is used.
pub(crate) const MEMORIES: u32 = 1024;

/// Tables, for all of them.
pub(crate) const TABLES: u32 = 4096;

/// Core instances, for all of them: a component has one of its own, an adapter's and some that
/// do nothing but connect these.
const CORE_INSTANCES: u32 = 16 * SLOTS;

/// An engine that compiles, and loads what an equal one compiled. Made once in a process.
pub(crate) fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    static ENGINES: [OnceLock<Engine>; 4] = [const { OnceLock::new() }; 4];
    let made = &ENGINES[profile as usize];
    if let Some(engine) = made.get() {
        return Ok(engine.clone());
    }
    let engine = Engine::new(&config(profile, None))?;
    Ok(made.get_or_init(|| engine).clone())
}

/// An engine that runs what [`engine`] compiles, by a stack of its own where one is asked for.
pub(crate) fn engine_with(profile: Profile, stack: Option<u64>) -> wasmtime::Result<Engine> {
    match stack {
        Some(_) => Engine::new(&config(profile, stack)),
        None => engine(profile),
    }
}

/// An engine of a server's profile whose guests take what they need from a pool: instances,
/// memories and stacks are made ready once, and used again.
///
/// Must be called in the process that becomes init, or in one that it is cloned from.
pub(crate) fn pooling_engine(profile: Profile, stack: Option<u64>) -> wasmtime::Result<Engine> {
    let stacks = if profile.is_concurrent() { STACKS } else { 1 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        .total_core_instances(CORE_INSTANCES)
        .total_memories(MEMORIES)
        .total_tables(TABLES)
        .total_stacks(stacks * SLOTS)
        .total_gc_heaps(SLOTS)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_TABLE);
    let mut config = config(profile, stack);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// What a memory keeps of its pages between two requests, in bytes: to clear as much costs less
/// than to give it back and take it again.
const KEPT_MEMORY: usize = 64 << 10;

/// What a table keeps, in bytes.
const KEPT_TABLE: usize = 4 << 10;

/// Stack of a server's guest of which nothing else is said, in bytes. There are hundreds of them, and
/// a page that a request has touched stays with its slot for the next one.
const HANDLER_STACK: u64 = 1 << 20;

/// What a stack has beyond the guest's part of it, for the calls that the guest makes into the
/// engine, in bytes: as much as with Wasmtime's own defaults.
const HOST_STACK: usize = 3 << 19;

pub(crate) fn config(profile: Profile, stack: Option<u64>) -> Config {
    let usual = if profile.serves() {
        HANDLER_STACK
    } else {
        STACK
    };
    let stack = stack
        .unwrap_or(usual)
        .clamp(*STACK_LIMITS.start(), *STACK_LIMITS.end());
    let stack = usize::try_from(stack).unwrap_or(usize::MAX - HOST_STACK);
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Line numbers in a trap's backtrace, where the module has DWARF.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Init is one process for one guest: pages are taken as the guest touches them, from the
        // native code's file, which all replicas share.
        .memory_init_cow(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        // The system's unwinder never goes through guest frames.
        .native_unwind_info(false)
        .concurrency_support(profile.is_concurrent())
        .epoch_interruption(profile.serves());
    config
}

#[cfg(test)]
mod tests {
    use super::{Profile, engine_with};

    #[test]
    fn a_stack_is_as_large_as_is_asked_within_reason() {
        let stack = |profile, asked| {
            let engine = engine_with(profile, asked).unwrap();
            engine.get_max_wasm_stack()
        };
        assert_eq!(stack(Profile::Command, None), 8 << 20);
        assert_eq!(stack(Profile::ConcurrentCommand, None), 8 << 20);
        assert_eq!(stack(Profile::Server, None), 1 << 20);
        assert_eq!(stack(Profile::Server, Some(64 << 20)), 64 << 20);
        assert_eq!(stack(Profile::Command, Some(u64::MAX)), 1 << 30);
        assert_eq!(stack(Profile::Command, Some(0)), 64 << 10);
    }

    #[test]
    fn a_profile_is_found_by_its_number() {
        for (number, profile) in (0_u8..).zip(Profile::ALL) {
            assert_eq!(profile.number(), number);
            assert_eq!(Profile::numbered(number), Some(profile));
            assert_eq!(
                Profile::of(profile.serves(), profile.is_concurrent()),
                profile
            );
        }
        assert_eq!(Profile::numbered(4), None);
    }
}
