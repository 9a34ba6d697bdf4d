//! Arguments of functions that are called by name, and their results.

use medley_engine::call::{Kind, Number};
use wasmer::{Type, Value};

/// What a function takes or gives.
pub(crate) fn kinds(types: &[Type]) -> Vec<Kind> {
    types.iter().map(kind).collect()
}

fn kind(ty: &Type) -> Kind {
    match ty {
        Type::I32 => Kind::I32,
        Type::I64 => Kind::I64,
        Type::F32 => Kind::F32,
        Type::F64 => Kind::F64,
        Type::V128 => Kind::V128,
        Type::ExternRef | Type::FuncRef | Type::ExceptionRef => Kind::Reference,
    }
}

/// A number as an argument.
pub(crate) fn value(number: &Number) -> Value {
    match *number {
        Number::I32(n) => Value::I32(n),
        Number::I64(n) => Value::I64(n),
        Number::F32(bits) => Value::F32(f32::from_bits(bits)),
        Number::F64(bits) => Value::F64(f64::from_bits(bits)),
        Number::V128(bits) => Value::V128(bits),
    }
}

/// A result, if it can be shown.
pub(crate) fn number(result: &Value) -> Option<Number> {
    match *result {
        Value::I32(n) => Some(Number::I32(n)),
        Value::I64(n) => Some(Number::I64(n)),
        Value::F32(n) => Some(Number::F32(n.to_bits())),
        Value::F64(n) => Some(Number::F64(n.to_bits())),
        Value::V128(bits) => Some(Number::V128(bits)),
        Value::ExternRef(_) | Value::FuncRef(_) | Value::ExceptionRef(_) => None,
    }
}
