//! What functions take and give, and values of it.

use medley_engine::invoke;

use crate::ffi::{self, FunctionType, Value, ValueType};

/// Parameters and results of a function.
pub(crate) struct Signature {
    parameters: Vec<ValueType>,
    results: Vec<ValueType>,
}

impl Signature {
    /// # Safety
    /// `of` is a function type whose owner lives.
    pub(crate) unsafe fn new(of: *const FunctionType) -> Self {
        // SAFETY: it lives, by the contract; each list is as long as WasmEdge says that it has to
        // be.
        unsafe {
            let length = ffi::WasmEdge_FunctionTypeGetParametersLength(of);
            let mut parameters = values(length);
            ffi::WasmEdge_FunctionTypeGetParameters(of, parameters.as_mut_ptr(), length);
            let length = ffi::WasmEdge_FunctionTypeGetReturnsLength(of);
            let mut results = values(length);
            ffi::WasmEdge_FunctionTypeGetReturns(of, results.as_mut_ptr(), length);
            Self {
                parameters,
                results,
            }
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |one: &[ValueType], other: &[ValueType]| {
            // SAFETY: it compares two values that WasmEdge has made. Not all their bytes count.
            let equal = |(one, other): (&ValueType, &ValueType)| unsafe {
                ffi::WasmEdge_ValTypeIsEqual(*one, *other)
            };
            one.len() == other.len() && one.iter().zip(other).all(equal)
        };
        same(&self.parameters, &other.parameters) && same(&self.results, &other.results)
    }

    pub(crate) fn parameters(&self) -> Vec<invoke::ValueType> {
        self.parameters.iter().copied().map(kind).collect()
    }

    pub(crate) fn results(&self) -> Vec<invoke::ValueType> {
        self.results.iter().copied().map(kind).collect()
    }

    /// The numbers as parameters, one for each.
    pub(crate) fn arguments(&self, numbers: &[invoke::Value]) -> Vec<Value> {
        let pairs = self.parameters.iter().zip(numbers);
        pairs
            .map(|(kind, number)| Value {
                // The low bytes are the value, the others nothing's.
                value: match *number {
                    invoke::Value::I32(n) => n.cast_unsigned().into(),
                    invoke::Value::I64(n) => n.cast_unsigned().into(),
                    invoke::Value::F32(bits) => bits.into(),
                    invoke::Value::F64(bits) => bits.into(),
                    invoke::Value::V128(bits) => bits,
                },
                kind: *kind,
            })
            .collect()
    }

    /// Room for the results.
    pub(crate) fn room(&self) -> Vec<Value> {
        let nothing = |kind: &ValueType| Value {
            value: 0,
            kind: *kind,
        };
        self.results.iter().map(nothing).collect()
    }
}

fn values(length: u32) -> Vec<ValueType> {
    vec![ValueType::default(); usize::try_from(length).unwrap_or_default()]
}

fn kind(ty: ValueType) -> invoke::ValueType {
    // SAFETY: functions of a value that WasmEdge has made.
    unsafe {
        if ffi::WasmEdge_ValTypeIsI32(ty) {
            invoke::ValueType::I32
        } else if ffi::WasmEdge_ValTypeIsI64(ty) {
            invoke::ValueType::I64
        } else if ffi::WasmEdge_ValTypeIsF32(ty) {
            invoke::ValueType::F32
        } else if ffi::WasmEdge_ValTypeIsF64(ty) {
            invoke::ValueType::F64
        } else if ffi::WasmEdge_ValTypeIsV128(ty) {
            invoke::ValueType::V128
        } else {
            invoke::ValueType::Reference
        }
    }
}

/// A result of this kind, if it can be shown.
pub(crate) fn number(kind: invoke::ValueType, result: &Value) -> Option<invoke::Value> {
    let bytes = result.value.to_le_bytes();
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    let (low, half) = ([a, b, c, d], [a, b, c, d, e, f, g, h]);
    match kind {
        invoke::ValueType::I32 => Some(invoke::Value::I32(i32::from_le_bytes(low))),
        invoke::ValueType::I64 => Some(invoke::Value::I64(i64::from_le_bytes(half))),
        invoke::ValueType::F32 => Some(invoke::Value::F32(u32::from_le_bytes(low))),
        invoke::ValueType::F64 => Some(invoke::Value::F64(u64::from_le_bytes(half))),
        invoke::ValueType::V128 => Some(invoke::Value::V128(result.value)),
        invoke::ValueType::Reference => None,
    }
}
