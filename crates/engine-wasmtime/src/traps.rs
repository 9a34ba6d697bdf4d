//! Interfaces that are not there, and that a component imports all the same.
//!
//! An SDK may import all of Spin's world for a component that calls a part of it. Each function of what is
//! missing traps when it is called.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};
use wasmtime::{Engine, Error};

use crate::store_data::StoreData;
use crate::wasi_version::{is_of_spin, is_provided};

/// Whether a component may import this without there being such an interface.
pub(crate) fn may_trap(engine: &Engine, component: &Component, import: &str) -> bool {
    let ty = component.component_type();
    medley_spin_host::may_trap(import) && ty.imports(engine).any(|(name, _)| is_of_spin(name))
}

/// Adds what is missing of such interfaces, and nothing of those that are there.
pub(crate) fn add_to_linker(
    linker: &mut Linker<StoreData>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    for (import, item) in component.component_type().imports(engine) {
        if is_provided(import) || !may_trap(engine, component, import) {
            continue;
        }
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            continue;
        };
        let mut instance = linker.instance(import)?;
        for (name, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(function) => {
                    add(&mut instance, import, name, function.async_())?;
                }
                // One type for all, as one interface names another's.
                ComponentItem::Resource(_) => {
                    instance.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn add(
    instance: &mut LinkerInstance<'_, StoreData>,
    import: &str,
    name: &str,
    is_async: bool,
) -> wasmtime::Result<()> {
    let text = format!("it calls {name} of {import}, which this Medley does not have");
    if is_async {
        instance.func_new_concurrent(name, move |_, _, _, _| {
            let error = Error::msg(text.clone());
            Box::pin(async move { Err(error) })
        })
    } else {
        instance.func_new(name, move |_, _, _, _| Err(Error::msg(text.clone())))
    }
}
