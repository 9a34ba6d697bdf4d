//! Tells the linker where WasmEdge's library is. Cargo builds this crate without it, too: only a
//! program needs it.

/// What the static archive needs besides the C library, in the order in which they are searched.
const ARCHIVES: [&str; 4] = ["wasmedge", "fmt", "spdlog", "zstd"];

fn main() {
    println!("cargo:rerun-if-env-changed=WASMEDGE_LIB_DIR");
    println!("cargo:rerun-if-env-changed=WASMEDGE_LOADER");
    println!("cargo:rerun-if-env-changed=WASMEDGE_ON_NODE");
    if std::env::var_os("CARGO_FEATURE_LIBRARY").is_none() {
        return;
    }
    let dir = std::env::var("WASMEDGE_LIB_DIR").unwrap_or_default();
    if !dir.is_empty() {
        println!("cargo:rustc-link-search=native={dir}");
    }
    if std::env::var_os("CARGO_FEATURE_STATIC").is_none() {
        println!("cargo:rustc-link-lib=dylib=wasmedge");
        for argument in link_arguments(&dir) {
            println!("cargo:rustc-link-arg-tests={argument}");
        }
        // For the programs of other crates, whose build scripts read it.
        println!("cargo::metadata=link={}", link_arguments(&dir).join(" "));
        return;
    }
    for archive in ARCHIVES {
        // What the distribution has built into libwasmedge.a itself is not beside it.
        let path = std::path::Path::new(&dir).join(format!("lib{archive}.a"));
        if archive == "wasmedge" || path.exists() {
            println!("cargo:rustc-link-lib=static={archive}");
        }
    }
    println!("cargo:rustc-link-lib=static=stdc++");
}

/// What makes a program use the libraries of `dir`, with the loader that belongs to them: they
/// may come from a newer Debian than the machine's. WASMEDGE_ON_NODE is where they will be, if that is
/// not here.
fn link_arguments(dir: &str) -> Vec<String> {
    let loader = std::env::var("WASMEDGE_LOADER").unwrap_or_default();
    if dir.is_empty() || loader.is_empty() {
        return Vec::new();
    }
    let there = std::env::var("WASMEDGE_ON_NODE").unwrap_or_else(|_| dir.to_owned());
    vec![
        format!("-Wl,--dynamic-linker={loader}"),
        // Not RUNPATH, which does not count for the libraries of the libraries.
        "-Wl,--disable-new-dtags".to_owned(),
        format!("-Wl,-rpath,{there}"),
        // They need a newer C library than the one that is linked against.
        "-Wl,--allow-shlib-undefined".to_owned(),
    ]
}
