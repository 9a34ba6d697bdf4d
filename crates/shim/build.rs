//! Links the program with WasmEdge to the libraries that its engine was told of, if these are not
//! the machine's own.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let arguments = std::env::var("DEP_WASMEDGE_LINK").unwrap_or_default();
    for argument in arguments.split_whitespace() {
        println!("cargo:rustc-link-arg-bin=containerd-shim-wasm-v1-wasmedge={argument}");
    }
}
