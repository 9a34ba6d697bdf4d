//! The configurations of the engine: compiler and init must agree on every part of them.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

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

/// An engine that compiles, and loads what an equal one compiled. Made once in a process.
pub(crate) fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    static ENGINES: [OnceLock<Engine>; 2] = [OnceLock::new(), OnceLock::new()];
    let made = &ENGINES[profile as usize];
    if let Some(engine) = made.get() {
        return Ok(engine.clone());
    }
    let engine = Engine::new(&config(profile))?;
    Ok(made.get_or_init(|| engine).clone())
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
        // Init is one process for one guest: pages are taken as the guest touches them, from the
        // native code's file, which all replicas share.
        .memory_init_cow(true)
        // Nobody unwinds through guest frames with the system's unwinder.
        .native_unwind_info(false)
        .epoch_interruption(profile == Profile::Server);
    config
}

/// Wasmtime's own account of what makes code of one engine loadable by another: its version, its
/// settings, the processor's features. Loading checks all of it again.
pub(crate) fn fingerprint() -> wasmtime::Result<String> {
    Ok(fingerprint_of(&engine(Profile::Command)?))
}

/// All of it and no digest of it, after the version.
fn fingerprint_of(engine: &Engine) -> String {
    let mut told = Told::default();
    engine.precompile_compatibility_hash().hash(&mut told);
    PROFILES.hash(&mut told);
    let mut text = version(&told.0).unwrap_or("unknown").to_owned();
    text.push(' ');
    for byte in &told.0 {
        // A String takes everything.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// Keeps what is hashed.
#[derive(Default)]
struct Told(Vec<u8>);

impl Hasher for Told {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Wasmtime has no constant for its version; it is the one `1.2.3` in what it tells.
fn version(told: &[u8]) -> Option<&str> {
    told.split(|byte| !byte.is_ascii_digit() && *byte != b'.')
        .filter_map(|word| std::str::from_utf8(word).ok())
        .find(|word| {
            let parts: Vec<_> = word.split('.').collect();
            parts.len() == 3 && parts.iter().all(|part| !part.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::{Profile, config, fingerprint, fingerprint_of};
    use wasmtime::{Config, Engine, OptLevel};

    type Change = fn(&mut Config);

    fn changed(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config(Profile::Command);
        change(&mut config);
        fingerprint_of(&Engine::new(&config).unwrap())
    }

    #[test]
    fn a_fingerprint_begins_with_the_engines_version() {
        let lock = include_str!("../../../Cargo.lock");
        let fingerprint = fingerprint().unwrap();
        let (version, _) = fingerprint.split_once(' ').unwrap();
        let wanted = format!("name = \"wasmtime\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&wanted), "{version}");
    }

    #[test]
    fn the_same_engine_has_the_same_fingerprint() {
        assert_eq!(fingerprint().unwrap(), changed(|_| {}));
    }

    #[test]
    fn every_setting_that_native_code_depends_on_changes_the_fingerprint() {
        let mut all = vec![changed(|_| {})];
        let changes: [(&str, Change); 12] = [
            ("optimisation", |c| {
                c.cranelift_opt_level(OptLevel::SpeedAndSize);
            }),
            ("interruption", |c| {
                c.epoch_interruption(true);
            }),
            ("fuel", |c| {
                c.consume_fuel(true);
            }),
            ("memory images", |c| {
                c.memory_init_cow(false);
            }),
            ("memory reservation", |c| {
                c.memory_reservation(1 << 20);
            }),
            ("memory guard", |c| {
                c.memory_guard_size(1 << 20);
            }),
            ("unwind tables", |c| {
                c.native_unwind_info(true);
            }),
            ("debug information", |c| {
                c.debug_info(true);
            }),
            ("features", |c| {
                c.wasm_memory64(false);
            }),
            ("nan bits", |c| {
                c.cranelift_nan_canonicalization(true);
            }),
            ("more features", |c| {
                c.wasm_bulk_memory(false)
                    .wasm_reference_types(false)
                    .wasm_function_references(false)
                    .wasm_gc(false);
            }),
            ("processor", |c| {
                // The oldest of this architecture: none of what this machine's has more.
                let triple = oldest();
                c.target(&triple).unwrap();
            }),
        ];
        for (what, change) in changes {
            let fingerprint = changed(change);
            assert!(!all.contains(&fingerprint), "{what}");
            all.push(fingerprint);
        }
    }

    fn oldest() -> String {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }
}
