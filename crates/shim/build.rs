//! Links the program with WasmEdge to the libraries that its engine was told of, if these are not
//! the machine's own; and makes a release smaller, by a linker that keeps one of functions with equal code.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("OPT_LEVEL").is_ok_and(|level| level == "s") {
        fold_equal_functions();
    }
    let arguments = env::var("DEP_WASMEDGE_LINK").unwrap_or_default();
    for argument in arguments.split_whitespace() {
        println!("cargo:rustc-link-arg-bin=containerd-shim-wasm-v1-wasmedge={argument}");
    }
}

/// Has the static program linked by the `lld` that Rust brings along, for each target. Without it the
/// program is as good, and 280 kB larger.
fn fold_equal_functions() {
    let (Some(rustc), Ok(host)) = (env::var_os("RUSTC"), env::var("HOST")) else {
        return;
    };
    let printed = Command::new(rustc).args(["--print", "sysroot"]).output();
    let Ok(printed) = printed else { return };
    let sysroot = String::from_utf8_lossy(&printed.stdout);
    let lld: PathBuf = [sysroot.trim(), "lib/rustlib", &host, "bin/gcc-ld"]
        .iter()
        .collect();
    if !lld.join("ld.lld").is_file() {
        println!(
            "cargo:warning=no {}: the program gets larger",
            lld.display()
        );
        return;
    }
    let find = format!("-B{}", lld.display());
    for argument in [&find, "-fuse-ld=lld", "-Wl,--icf=all", "-Wl,-O2"] {
        println!("cargo:rustc-link-arg-bin=containerd-shim-wasm-v1={argument}");
    }
}
