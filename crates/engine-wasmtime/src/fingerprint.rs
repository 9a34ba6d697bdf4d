//! What makes native code of one engine loadable by another: a part of the cache's keys.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use wasmtime::Engine;

use crate::config::{PROFILES, Profile, engine};

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
    use super::{fingerprint, fingerprint_of};
    use crate::config::{Profile, config};
    use wasmtime::{Config, Engine, OptLevel};

    type Change = fn(&mut Config);

    fn changed(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config(Profile::Command, None);
        change(&mut config);
        fingerprint_of(&Engine::new(&config).unwrap())
    }

    #[test]
    fn a_fingerprint_begins_with_the_engines_version() {
        let lock = include_str!("../../../Cargo.lock");
        let fingerprint = fingerprint().unwrap();
        let (version, _) = fingerprint.split_once(' ').unwrap();
        let expected = format!("name = \"wasmtime\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&expected), "{version}");
    }

    #[test]
    fn the_same_engine_has_the_same_fingerprint() {
        assert_eq!(fingerprint().unwrap(), changed(|_| {}));
    }

    /// Each that the code depends on.
    #[test]
    fn settings_of_native_code_change_the_fingerprint() {
        let mut all = vec![changed(|_| {})];
        let changes: [(&str, Change); 13] = [
            ("optimisation", |c| {
                c.cranelift_opt_level(OptLevel::SpeedAndSize);
            }),
            ("interruption", |c| {
                c.epoch_interruption(true);
            }),
            ("concurrency", |c| {
                c.concurrency_support(true);
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

    #[test]
    fn native_code_is_the_same_for_every_stack() {
        let config = config(Profile::Command, Some(1 << 30));
        let of_a_large_one = fingerprint_of(&Engine::new(&config).unwrap());
        assert_eq!(fingerprint().unwrap(), of_a_large_one);
    }

    fn oldest() -> String {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }
}
