//! Arguments of functions that are called by name, and their results.

use medley_engine::invoke;
use wasmer::{Type, Value};

/// What a function takes or gives.
pub(crate) fn kinds(types: &[Type]) -> Vec<invoke::ValueType> {
    types.iter().map(kind).collect()
}

fn kind(ty: &Type) -> invoke::ValueType {
    match ty {
        Type::I32 => invoke::ValueType::I32,
        Type::I64 => invoke::ValueType::I64,
        Type::F32 => invoke::ValueType::F32,
        Type::F64 => invoke::ValueType::F64,
        Type::V128 => invoke::ValueType::V128,
        Type::ExternRef | Type::FuncRef | Type::ExceptionRef => invoke::ValueType::Reference,
    }
}

/// A number as an argument.
pub(crate) fn value(number: &invoke::Value) -> Value {
    match *number {
        invoke::Value::I32(n) => Value::I32(n),
        invoke::Value::I64(n) => Value::I64(n),
        invoke::Value::F32(bits) => Value::F32(f32::from_bits(bits)),
        invoke::Value::F64(bits) => Value::F64(f64::from_bits(bits)),
        invoke::Value::V128(bits) => Value::V128(bits),
    }
}

/// A result, if it can be shown.
pub(crate) fn number(result: &Value) -> Option<invoke::Value> {
    match *result {
        Value::I32(n) => Some(invoke::Value::I32(n)),
        Value::I64(n) => Some(invoke::Value::I64(n)),
        Value::F32(n) => Some(invoke::Value::F32(n.to_bits())),
        Value::F64(n) => Some(invoke::Value::F64(n.to_bits())),
        Value::V128(bits) => Some(invoke::Value::V128(bits)),
        Value::ExternRef(_) | Value::FuncRef(_) | Value::ExceptionRef(_) => None,
    }
}
