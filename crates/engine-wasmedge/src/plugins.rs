//! WasmEdge's plugins: host functions in shared objects of the node, never of an image.
//!
//! They are loaded in the helper, which still sees the node's files, and only for a module that
//! imports something that WASI does not have.

use std::ptr;

use medley_engine::{Entry, ModuleError};

use crate::ffi::{self, ModuleInstance, Plugin};
use crate::owned::{Owned, owned_text, text};

/// The variable in which WasmEdge looks for dirs and files of plugins.
pub(crate) const PATH: &str = "WASMEDGE_PLUGIN_PATH";

/// A module that a plugin has.
pub(crate) struct Source {
    pub(crate) module: String,
    plugin: *const Plugin,
}

impl Source {
    /// An instance of the module, as it is to be imported.
    pub(crate) fn instance(&self) -> Option<Owned<ModuleInstance>> {
        // SAFETY: a plugin lives until the process ends. What is created is ours.
        unsafe {
            Owned::new(
                ffi::WasmEdge_PluginCreateModule(self.plugin, text(&self.module)),
                ffi::WasmEdge_ModuleInstanceDelete,
            )
        }
    }
}

/// The node's plugins, loaded when the first is asked for.
#[derive(Default)]
pub(crate) struct Plugins {
    loaded: bool,
}

impl Plugins {
    /// The plugin with this module, and an instance to look into.
    pub(crate) fn find(&mut self, module: &str) -> Option<(Source, Owned<ModuleInstance>)> {
        if !self.loaded {
            self.loaded = true;
            // SAFETY: the files are the node's, as its administrator has put them there. One that
            // can't be loaded is left out.
            unsafe { ffi::WasmEdge_PluginLoadWithDefaultPaths() };
        }
        let plugin = self.all().into_iter().find(|plugin| {
            let names = modules(*plugin);
            names.iter().any(|name| name == module)
        })?;
        let source = Source {
            module: module.to_owned(),
            plugin,
        };
        let instance = source.instance()?;
        Some((source, instance))
    }

    fn all(&self) -> Vec<*const Plugin> {
        // SAFETY: the list is as long as WasmEdge says that it has to be; names and plugins live
        // until the process ends.
        unsafe {
            let length = ffi::WasmEdge_PluginListPluginsLength();
            let mut names = vec![text(""); usize::try_from(length).unwrap_or_default()];
            ffi::WasmEdge_PluginListPlugins(names.as_mut_ptr(), length);
            names
                .into_iter()
                .map(|name| ffi::WasmEdge_PluginFind(name))
                .filter(|plugin| !plugin.is_null())
                .collect()
        }
    }

    /// Why a module cannot be run whose import no plugin has.
    pub(crate) fn missing(&self, entry: &Entry, module: &str, name: &str) -> ModuleError {
        ModuleError::NoPlugin {
            path: entry.path.clone(),
            import: format!("{module}::{name}"),
            module: module.to_owned(),
            searched: std::env::var(PATH).unwrap_or_else(|_| "not set".to_owned()),
        }
    }
}

/// The names of a plugin's modules.
fn modules(plugin: *const Plugin) -> Vec<String> {
    // SAFETY: as in `all`.
    unsafe {
        let length = ffi::WasmEdge_PluginListModuleLength(plugin);
        let mut names = vec![
            ffi::Text {
                length: 0,
                bytes: ptr::null(),
            };
            usize::try_from(length).unwrap_or_default()
        ];
        ffi::WasmEdge_PluginListModule(plugin, names.as_mut_ptr(), length);
        names.into_iter().map(|name| owned_text(name)).collect()
    }
}

/// Whether a module of this name is known to come from a plugin.
pub(crate) fn is_plugins(module: &str) -> bool {
    module.starts_with("wasi_") || module.starts_with("wasmedge_")
}
