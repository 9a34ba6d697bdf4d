//! Arguments of functions that are called by name, and their results: numbers and text.

use std::fmt::Display;

use medley_engine::invoke::{self, Value, ValueType};
use wasmtime::component::{Type, Val as ComponentVal};
use wasmtime::{Val, ValType};

/// What is made of a function's result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Printed {
    /// It has none.
    Nothing,
    /// It is shown.
    Value(String),
    /// It is an error, which may be shown.
    Failure(Option<String>),
}

/// What a module's function takes or gives.
pub(crate) fn kind(ty: &ValType) -> ValueType {
    match ty {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(_) => ValueType::Reference,
    }
}

/// Checks that a component's function can be called with arguments of text.
pub(crate) fn check_component(ty: &Type) -> Result<(), String> {
    match ty {
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::Float32
        | Type::Float64
        | Type::Char
        | Type::String => Ok(()),
        _ => Err("neither a number nor text, and arguments can be nothing else".to_owned()),
    }
}

/// The values for a module's function, of the container's arguments.
pub(crate) fn core_arguments(
    parameters: &[ValueType],
    args: &[String],
) -> Result<Vec<Val>, String> {
    let numbers = invoke::numbers(parameters, args)?.into_iter();
    Ok(numbers
        .map(|number| match number {
            Value::I32(n) => Val::I32(n),
            Value::I64(n) => Val::I64(n),
            Value::F32(bits) => Val::F32(bits),
            Value::F64(bits) => Val::F64(bits),
            Value::V128(bits) => Val::V128(bits.into()),
        })
        .collect())
}

/// The values for a component's function, of the arguments behind the program's name.
pub(crate) fn component_arguments(
    parameters: &[(&str, Type)],
    args: &[String],
) -> Result<Vec<ComponentVal>, String> {
    let types: Vec<Named<'_>> = parameters
        .iter()
        .map(|(name, ty)| Named { name, ty })
        .collect();
    invoke::arguments(&types, args, |Named { ty, .. }, text| {
        Some(match ty {
            Type::Bool => ComponentVal::Bool(text.parse().ok()?),
            Type::S8 => ComponentVal::S8(text.parse().ok()?),
            Type::U8 => ComponentVal::U8(text.parse().ok()?),
            Type::S16 => ComponentVal::S16(text.parse().ok()?),
            Type::U16 => ComponentVal::U16(text.parse().ok()?),
            Type::S32 => ComponentVal::S32(text.parse().ok()?),
            Type::U32 => ComponentVal::U32(text.parse().ok()?),
            Type::S64 => ComponentVal::S64(text.parse().ok()?),
            Type::U64 => ComponentVal::U64(text.parse().ok()?),
            Type::Float32 => ComponentVal::Float32(text.parse().ok()?),
            Type::Float64 => ComponentVal::Float64(text.parse().ok()?),
            Type::Char => ComponentVal::Char(text.parse().ok()?),
            Type::String => ComponentVal::String(text.to_owned()),
            _ => return None,
        })
    })
}

/// A parameter, as a message shows it.
struct Named<'a> {
    name: &'a str,
    ty: &'a Type,
}

impl Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ty = match self.ty {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            _ => "string",
        };
        write!(f, "{}: {ty}", self.name)
    }
}

/// A module's result, if it can be shown.
pub(crate) fn number(value: &Val) -> Option<Value> {
    match value {
        Val::I32(n) => Some(Value::I32(*n)),
        Val::I64(n) => Some(Value::I64(*n)),
        Val::F32(bits) => Some(Value::F32(*bits)),
        Val::F64(bits) => Some(Value::F64(*bits)),
        Val::V128(bits) => Some(Value::V128(bits.as_u128())),
        _ => None,
    }
}

/// A component's result. `err` of a `result` is a failure.
pub(crate) fn print_component(value: &ComponentVal) -> Printed {
    match value {
        ComponentVal::Result(Ok(None)) => Printed::Nothing,
        ComponentVal::Result(Ok(Some(value))) => Printed::Value(text(value)),
        ComponentVal::Result(Err(value)) => Printed::Failure(value.as_deref().map(text)),
        value => Printed::Value(text(value)),
    }
}

/// A string as it is; anything else in the notation of WAVE.
fn text(value: &ComponentVal) -> String {
    match value {
        ComponentVal::String(text) => text.clone(),
        ComponentVal::Char(text) => text.to_string(),
        value => wave(value),
    }
}

/// The notation of WAVE. Wasmtime's own writer of it, the feature `wave`, would add six crates to the
/// build and some 60 KB to the shim for what these lines do.
fn wave(value: &ComponentVal) -> String {
    let list = |values: &[ComponentVal]| values.iter().map(wave).collect::<Vec<_>>().join(", ");
    let case = |name: &str, value: Option<&ComponentVal>| match value {
        Some(value) => format!("{name}({})", wave(value)),
        None => name.to_owned(),
    };
    match value {
        ComponentVal::Bool(value) => value.to_string(),
        ComponentVal::S8(n) => n.to_string(),
        ComponentVal::U8(n) => n.to_string(),
        ComponentVal::S16(n) => n.to_string(),
        ComponentVal::U16(n) => n.to_string(),
        ComponentVal::S32(n) => n.to_string(),
        ComponentVal::U32(n) => n.to_string(),
        ComponentVal::S64(n) => n.to_string(),
        ComponentVal::U64(n) => n.to_string(),
        ComponentVal::Float32(n) => n.to_string(),
        ComponentVal::Float64(n) => n.to_string(),
        ComponentVal::Char(value) => format!("{value:?}"),
        ComponentVal::String(value) => format!("{value:?}"),
        ComponentVal::List(values) => format!("[{}]", list(values)),
        ComponentVal::Tuple(values) => format!("({})", list(values)),
        ComponentVal::Record(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", wave(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        ComponentVal::Variant(name, value) => case(name, value.as_deref()),
        ComponentVal::Enum(name) => name.clone(),
        ComponentVal::Option(None) => "none".to_owned(),
        ComponentVal::Option(Some(value)) => case("some", Some(value)),
        ComponentVal::Result(Ok(value)) => case("ok", value.as_deref()),
        ComponentVal::Result(Err(value)) => case("err", value.as_deref()),
        ComponentVal::Flags(names) => format!("{{{}}}", names.join(", ")),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Printed, component_arguments, core_arguments, kind, number, print_component};
    use wasmtime::ValType;
    use wasmtime::component::{Type, Val as ComponentVal};

    fn args(list: &[&str]) -> Vec<String> {
        std::iter::once("/app.wasm")
            .chain(list.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn numbers_pass_through_the_engine_as_they_are() {
        let kinds = [ValType::I32, ValType::I64, ValType::F32, ValType::F64].map(|ty| kind(&ty));
        let values = core_arguments(&kinds, &args(&["4294967295", "-2", "2.5", "0.5"])).unwrap();
        let shown: Vec<_> = values.iter().filter_map(number).collect();
        let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["-1", "-2", "2.5", "0.5"]);
    }

    #[test]
    fn a_component_takes_text_as_it_is() {
        let parameters = [("name", Type::String), ("times", Type::U8)];
        let values = component_arguments(&parameters, &args(&["it's \"me\"", "3"])).unwrap();
        assert_eq!(values[0], ComponentVal::String("it's \"me\"".into()));
        let error = component_arguments(&parameters, &args(&["me", "300"])).unwrap_err();
        assert_eq!(error, "takes times: u8, which \"300\" cannot be");
    }

    #[test]
    fn results_are_shown_and_errors_are_failures() {
        let list = ComponentVal::List(vec![ComponentVal::U8(1), ComponentVal::U8(2)]);
        assert_eq!(print_component(&list), Printed::Value("[1, 2]".into()));
        let text = ComponentVal::String("as it is".into());
        assert_eq!(print_component(&text), Printed::Value("as it is".into()));
        let error = ComponentVal::Result(Err(Some(Box::new(text))));
        assert_eq!(
            print_component(&error),
            Printed::Failure(Some("as it is".into()))
        );
        let nothing = ComponentVal::Result(Ok(None));
        assert_eq!(print_component(&nothing), Printed::Nothing);
    }
}
