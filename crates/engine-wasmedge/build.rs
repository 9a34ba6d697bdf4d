//! Tells the linker where WasmEdge's library is. Cargo builds this crate without it, too: only a
//! program needs it.

/// What the static archive needs besides the C library, in the order in which they are searched.
const ARCHIVES: [&str; 4] = ["wasmedge", "fmt", "spdlog", "zstd"];

fn main() {
    println!("cargo:rerun-if-env-changed=WASMEDGE_LIB_DIR");
    println!("cargo:rerun-if-env-changed=WASMEDGE_LOADER");
    if std::env::var_os("CARGO_FEATURE_LIBRARY").is_none() {
        return;
    }
    let folder = std::env::var("WASMEDGE_LIB_DIR").unwrap_or_default();
    if !folder.is_empty() {
        println!("cargo:rustc-link-search=native={folder}");
    }
    if std::env::var_os("CARGO_FEATURE_STATIC").is_none() {
        println!("cargo:rustc-link-lib=dylib=wasmedge");
        for argument in link_arguments(&folder) {
            println!("cargo:rustc-link-arg-tests={argument}");
        }
        // For the programs of other crates, whose build scripts read it.
        println!("cargo::metadata=link={}", link_arguments(&folder).join(" "));
        return;
    }
    for archive in ARCHIVES {
        // What the distribution has built into libwasmedge.a itself is not beside it.
        let path = std::path::Path::new(&folder).join(format!("lib{archive}.a"));
        if archive == "wasmedge" || path.exists() {
            println!("cargo:rustc-link-lib=static={archive}");
        }
    }
    println!("cargo:rustc-link-lib=static=stdc++");
}

/// What makes a program use the libraries of `folder`, with the loader that belongs to them: they
/// may come from a newer Debian than the machine's.
fn link_arguments(folder: &str) -> Vec<String> {
    let loader = std::env::var("WASMEDGE_LOADER").unwrap_or_default();
    if folder.is_empty() || loader.is_empty() {
        return Vec::new();
    }
    vec![
        format!("-Wl,--dynamic-linker={loader}"),
        // Not RUNPATH, which does not count for the libraries of the libraries.
        "-Wl,--disable-new-dtags".to_owned(),
        format!("-Wl,-rpath,{folder}"),
        // They need a newer C library than the one that is linked against.
        "-Wl,--allow-shlib-undefined".to_owned(),
    ]
}
