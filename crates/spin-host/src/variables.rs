//! A component's variables: `fermyon:spin/variables`, `spin:variables`, the older `fermyon:spin/config`,
//! and `wasi:config`.

use wasmtime::component::{Accessor, Linker};

use crate::{Interfaces, View};

crate::bindings! { v1
    inline: r#"
        package fermyon:spin;
        interface config {
            variant error { provider(string), invalid-key(string), invalid-schema(string), other(string) }
            get-config: func(key: string) -> result<string, error>;
        }
        world imports { import config; }
    "#,
}

crate::bindings! { v2
    inline: r#"
        package fermyon:spin@2.0.0;
        interface variables {
            variant error { invalid-name(string), undefined(string), provider(string), other(string) }
            get: func(name: string) -> result<string, error>;
        }
        world imports { import variables; }
    "#,
}

crate::bindings! { v3
    inline: r#"
        package spin:variables@3.0.0;
        interface variables {
            variant error { invalid-name(string), undefined(string), provider(string), other(string) }
            get: async func(name: string) -> result<string, error>;
        }
        world imports { import variables; }
    "#,
}

crate::bindings! { wasi
    inline: r#"
        package wasi:config@0.2.0-draft-2024-09-27;
        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }
        world imports { import store; }
    "#,
}

use v1::fermyon::spin::config;
use v2::fermyon::spin::variables;
use v3::spin::variables::variables as async_variables;
use wasi::wasi::config::store;

/// Adds those that a component imports.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    if imports("fermyon:spin/config") {
        config::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    if imports("fermyon:spin/variables@2") {
        variables::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    if imports("spin:variables/variables@3") {
        async_variables::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    if imports("wasi:config/store@0.2.0-draft-") {
        store::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    Ok(())
}

/// Why a variable has no value.
enum Failure {
    InvalidName(String),
    Undefined(String),
}

/// What a variable's name consists of: letters in lower case, digits and `_`, a letter first.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl View<'_> {
    fn variable(&self, name: &str) -> Result<String, Failure> {
        let value = self.host.config.variables.get(name).cloned();
        value.ok_or_else(|| {
            if is_name(name) {
                Failure::Undefined(format!(
                    "component {:?} has no variable {name:?}",
                    self.host.config.id
                ))
            } else {
                Failure::InvalidName(format!("{name:?} is no name of a variable"))
            }
        })
    }
}

impl config::Host for View<'_> {
    fn get_config(&mut self, key: String) -> Result<String, config::Error> {
        self.variable(&key).map_err(|failure| match failure {
            Failure::InvalidName(text) => config::Error::InvalidKey(text),
            Failure::Undefined(text) => config::Error::Provider(text),
        })
    }
}

impl variables::Host for View<'_> {
    fn get(&mut self, name: String) -> Result<String, variables::Error> {
        self.variable(&name).map_err(|failure| match failure {
            Failure::InvalidName(text) => variables::Error::InvalidName(text),
            Failure::Undefined(text) => variables::Error::Undefined(text),
        })
    }
}

impl async_variables::Host for View<'_> {}

impl<T: Send + 'static> async_variables::HostWithStore<T> for Interfaces {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> Result<String, async_variables::Error> {
        accessor
            .with(|mut access| access.get().variable(&name))
            .map_err(|failure| match failure {
                Failure::InvalidName(text) => async_variables::Error::InvalidName(text),
                Failure::Undefined(text) => async_variables::Error::Undefined(text),
            })
    }
}

impl store::Host for View<'_> {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.host.config.variables.get(&key).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        Ok(self.host.config.variables.clone().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;

    use super::{store, variables};
    use crate::component::tests::config;
    use crate::{Host, View};

    #[test]
    fn a_component_has_its_own_variables_only() {
        let host = Host::new(&[]).unwrap().component(config("web")).unwrap();
        let mut view = View {
            host: &host,
            table: &mut ResourceTable::new(),
        };
        assert_eq!(
            variables::Host::get(&mut view, "greeting".into()).unwrap(),
            "hello"
        );
        let undefined = variables::Host::get(&mut view, "other".into()).unwrap_err();
        assert!(matches!(undefined, variables::Error::Undefined(_)));
        let invalid = variables::Host::get(&mut view, "Other-".into()).unwrap_err();
        assert!(matches!(invalid, variables::Error::InvalidName(_)));
        let all = store::Host::get_all(&mut view).unwrap();
        assert_eq!(all, [("greeting".to_owned(), "hello".to_owned())]);
    }
}
