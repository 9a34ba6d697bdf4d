//! The configurations of the engine: compiler and init must agree on every part of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How code is compiled, by what it is for. Code of one profile is refused by the engine of
/// another, which is how [`crate::component::load`] tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// One guest for the life of its process, which a signal ends.
    Command,
    /// Many guests in one process, none of which may keep the others from running: their code
    /// looks at the epoch in every loop.
    Server,
}

/// Part of the fingerprint: to be counted up with every change of what a profile but
/// [`Profile::Command`] adds, of whose settings Wasmtime gives an account itself.
const PROFILES: u32 = 1;

/// Requests that are handled at the same time, at most.
pub(crate) const SLOTS: u32 = 512;

/// Linear memories, for all of them. Each takes 4 GiB of address space, and nothing else until it
/// is used.
pub(crate) const MEMORIES: u32 = 1024;

/// Tables, for all of them.
pub(crate) const TABLES: u32 = 4096;

/// Core instances, for all of them: a component has one of its own, an adapter's and some that
/// do nothing but connect these.
const CORE_INSTANCES: u32 = 16 * SLOTS;

/// An engine that compiles, and loads what an equal one compiled.
pub(crate) fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    Engine::new(&config(profile))
}

/// An engine of the profile [`Profile::Server`] whose guests take what they need from a pool:
/// instances, memories and stacks are made ready once, and used again.
///
/// Must be called in the process that becomes init, or in one that it is cloned from.
pub(crate) fn pooling_engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        .total_core_instances(CORE_INSTANCES)
        .total_memories(MEMORIES)
        .total_tables(TABLES)
        .total_stacks(SLOTS)
        .total_gc_heaps(SLOTS)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_TABLE);
    let mut config = config(Profile::Server);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// What a memory keeps of its pages between two requests, in bytes: to clear as much costs less
/// than to give it back and take it again.
const KEPT_MEMORY: usize = 64 << 10;

/// What a table keeps, in bytes.
const KEPT_TABLE: usize = 4 << 10;

fn config(profile: Profile) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Line numbers in a trap's backtrace, where the module has DWARF.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Init is one process for one guest: pages are taken as the guest touches them.
        .memory_init_cow(true)
        // Nobody unwinds through guest frames with the system's unwinder.
        .native_unwind_info(false)
        .epoch_interruption(profile == Profile::Server);
    config
}

/// Wasmtime's own account of what makes code of one engine loadable by another: its version, its
/// settings, the processor's features. Loading checks all of it again.
pub(crate) fn fingerprint() -> wasmtime::Result<String> {
    let mut hasher = DefaultHasher::new();
    engine(Profile::Command)?
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    PROFILES.hash(&mut hasher);
    Ok(format!(
        "{}-{:016x}",
        env!("CARGO_PKG_VERSION"),
        hasher.finish()
    ))
}
