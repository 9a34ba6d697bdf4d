//! The linker of a component: the interfaces that it may import.

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_config::WasiConfig;

use crate::interfaces;
use crate::keyvalue;
use crate::store_data::StoreData;
use crate::traps;
use crate::wasi_version::{is_of_0_3, is_of_spin};

/// A linker with all that `component` may import: what it does not is left out, which most
/// starts are the quicker for. What is of WASI 0.3 needs an engine of a concurrent profile.
pub(crate) fn linker(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<StoreData>> {
    let ty = component.component_type();
    let any = |matches: &dyn Fn(&str) -> bool| ty.imports(engine).any(|(name, _)| matches(name));
    let imports = |package: &str| any(&|name| name.starts_with(package));
    let mut linker = Linker::new(engine);
    interfaces::add_0_2(&mut linker, &imports)?;
    if any(&is_of_0_3) {
        interfaces::add_0_3(&mut linker, &imports)?;
    }
    if imports("wasi:http/") {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if any(&|name| name.starts_with("wasi:http/") && is_of_0_3(name)) {
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    if imports("wasi:config/") {
        wasmtime_wasi_config::add_to_linker(&mut linker, |host: &mut StoreData| {
            WasiConfig::from(host.variables())
        })?;
    }
    #[cfg(feature = "nn")]
    if imports("wasi:nn/") {
        crate::nn::add_to_linker(&mut linker, |host: &mut StoreData| host.nn())?;
    }
    if imports("wasi:keyvalue/") {
        keyvalue::add_to_linker(&mut linker, StoreData::keyvalue)?;
    }
    if imports("wasi:config/") || imports("wasi:keyvalue/") || any(&is_of_spin) {
        medley_spin_host::add_to_linker(&mut linker, &imports, StoreData::spin)?;
    }
    traps::add_to_linker(&mut linker, engine, component)?;
    Ok(linker)
}
