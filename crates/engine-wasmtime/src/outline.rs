//! A module or component without what it does: all that it asks for and gives, and a trap for each
//! function. What can be known of it without running it is known of its outline, which takes no
//! time to compile however large it is.

use std::collections::HashMap;

use wasmparser::{Encoding, Export, ExternalKind, Parser, Payload, TypeRef};

/// Sections of a core module, by their numbers.
const FUNCTIONS: u8 = 3;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// Sections of a component that have others within.
const MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// The body of a function without locals: `unreachable`, `end`.
const TRAP: [u8; 4] = [3, 0, 0x00, 0x0b];

/// The outline of `bytes`; `None` where they are no Wasm, or where something in them needs what an
/// outline leaves out, as far as that can be told without validating it.
pub(crate) fn of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut open = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::Version {
                encoding, range, ..
            } => open.push(Part::new(encoding, &bytes[range])),
            Payload::End(_) => {
                let done: Part<'_> = open.pop()?;
                let number = done.number();
                let done = done.finish()?;
                match open.last_mut() {
                    Some(within) => section(&mut within.bytes, number, &done)?,
                    None => return Some(done),
                }
            }
            payload => open.last_mut()?.take(bytes, payload)?,
        }
    }
    None
}

/// One module or component, as far as it is read.
struct Part<'b> {
    encoding: Encoding,
    /// A component's outline so far; a module's header.
    bytes: Vec<u8>,
    /// The sections of a module that stay as they are.
    kept: Vec<(u8, &'b [u8])>,
    /// The type of each function of a module, those that are imported first.
    functions: Vec<u32>,
    /// How many are imported.
    imported: usize,
    exports: Vec<Export<'b>>,
}

impl<'b> Part<'b> {
    fn new(encoding: Encoding, header: &[u8]) -> Self {
        Self {
            encoding,
            bytes: header.to_vec(),
            kept: Vec::new(),
            functions: Vec::new(),
            imported: 0,
            exports: Vec::new(),
        }
    }

    fn number(&self) -> u8 {
        match self.encoding {
            Encoding::Module => MODULE,
            Encoding::Component => COMPONENT,
        }
    }

    fn take(&mut self, whole: &'b [u8], payload: Payload<'b>) -> Option<()> {
        match payload {
            // The first two are put in their place when they have ended; the rest is what a module
            // does.
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CustomSection(_)
            | Payload::StartSection { .. }
            | Payload::ElementSection(_)
            | Payload::DataCountSection { .. }
            | Payload::DataSection(_)
            | Payload::CodeSectionStart { .. }
            | Payload::CodeSectionEntry(_) => {}
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty.ok()?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    self.exports.push(export.ok()?);
                }
            }
            payload => {
                let (number, range) = payload.as_section()?;
                let content = whole.get(range)?;
                match self.encoding {
                    Encoding::Component => section(&mut self.bytes, number, content)?,
                    Encoding::Module => self.kept.push((number, content)),
                }
                if let Payload::ImportSection(imports) = payload {
                    for import in imports.into_imports() {
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import.ok()?.ty {
                            self.functions.push(ty);
                        }
                    }
                    self.imported = self.functions.len();
                }
            }
        }
        Some(())
    }

    /// A module gets one function for each type that those have which it exports.
    fn finish(self) -> Option<Vec<u8>> {
        let mut done = self.bytes;
        if self.encoding == Encoding::Component {
            return Some(done);
        }
        let (mut places, mut types) = (HashMap::new(), Vec::new());
        let mut exports = Vec::new();
        unsigned(&mut exports, self.exports.len())?;
        for export in self.exports {
            let index = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    let ty = *self.functions.get(usize::try_from(export.index).ok()?)?;
                    let place = *places.entry(ty).or_insert_with(|| {
                        types.push(ty);
                        types.len() - 1
                    });
                    self.imported + place
                }
                _ => usize::try_from(export.index).ok()?,
            };
            unsigned(&mut exports, export.name.len())?;
            exports.extend_from_slice(export.name.as_bytes());
            exports.push(match export.kind {
                ExternalKind::Func => 0,
                ExternalKind::Table => 1,
                ExternalKind::Memory => 2,
                ExternalKind::Global => 3,
                ExternalKind::Tag => 4,
                ExternalKind::FuncExact => 0x20,
            });
            unsigned(&mut exports, index)?;
        }
        let (mut functions, mut code) = (Vec::new(), Vec::new());
        unsigned(&mut functions, types.len())?;
        unsigned(&mut code, types.len())?;
        for ty in types {
            unsigned(&mut functions, usize::try_from(ty).ok()?)?;
            code.extend_from_slice(&TRAP);
        }
        let before = |number: u8| number < FUNCTIONS;
        for (number, content) in self.kept.iter().filter(|(number, _)| before(*number)) {
            section(&mut done, *number, content)?;
        }
        section(&mut done, FUNCTIONS, &functions)?;
        for (number, content) in self.kept.iter().filter(|(number, _)| !before(*number)) {
            section(&mut done, *number, content)?;
        }
        section(&mut done, EXPORTS, &exports)?;
        section(&mut done, CODE, &code)?;
        Some(done)
    }
}

/// Appends a section.
fn section(to: &mut Vec<u8>, number: u8, content: &[u8]) -> Option<()> {
    to.push(number);
    unsigned(to, content.len())?;
    to.extend_from_slice(content);
    Some(())
}

/// Appends a number in LEB128; none may have more than 32 bits.
fn unsigned(to: &mut Vec<u8>, number: usize) -> Option<()> {
    let mut rest = u32::try_from(number).ok()?;
    while rest > 0x7f {
        to.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    to.push(rest.to_le_bytes()[0]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn an_outline_has_all_imports_and_exports_and_no_code() {
        let body = "(drop (i32.const 7))".repeat(10_000);
        let wat = format!(
            r#"(module
                (import "env" "f" (func (param i64)))
                (import "env" "g" (global i32))
                (func $other {body})
                (func $add (export "add") (param i32) (result i32) {body} (i32.const 1))
                (func (export "sub") (param i32) (result i32) {body} (i32.const 1))
                (export "f" (func 0))
                (table (export "t") 2 funcref) (elem (i32.const 0) $other $add)
                (memory (export "memory") 1) (data (i32.const 0) "x")
                (global (export "n") i32 (i32.const 3)))"#
        );
        let outline = of(&wat::parse_str(wat).unwrap()).unwrap();
        assert!(outline.len() < 200, "{}", outline.len());
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::from_binary(&engine, &outline).unwrap();
        let exports: Vec<_> = module.exports().map(|export| export.name()).collect();
        assert_eq!(exports, ["add", "sub", "f", "t", "memory", "n"]);
        assert_eq!(module.imports().count(), 2);
        let takes = |name| {
            module
                .get_export(name)
                .unwrap()
                .unwrap_func()
                .params()
                .len()
        };
        assert_eq!((takes("add"), takes("f")), (1, 1));
    }

    #[test]
    fn the_outline_of_a_component_has_those_of_its_modules() {
        let body = "(drop (i32.const 7))".repeat(10_000);
        let wat = format!(
            r#"(component
                (core module $m (memory (export "memory") 1) (func (export "f") {body}))
                (core instance $i (instantiate $m))
                (component (core module (func (export "g") {body})))
                (func (export "go") (canon lift (core func $i "f"))))"#
        );
        let outline = of(&wat::parse_str(wat).unwrap()).unwrap();
        assert!(outline.len() < 300, "{}", outline.len());
        wasmparser::validate(&outline).unwrap();
    }

    #[test]
    fn what_is_cut_within_a_section_has_no_outline() {
        /// Magic number and version.
        const HEADER: usize = 8;
        let whole = wat::parse_str(r#"(module (func (export "f")))"#).unwrap();
        let within = (0..HEADER).chain([HEADER + 1, whole.len() - 1]);
        for length in within {
            assert!(of(&whole[..length]).is_none(), "{length}");
        }
        assert!(of(&whole).is_some());
    }
}
