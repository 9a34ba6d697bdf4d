//! Functions that are called by name, `file.wasm#function`: their arguments are read from text, and
//! their results written as text, in the same way for every engine.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::str::FromStr;

/// A command's entry.
pub const START: &str = "_start";

/// A reactor's constructor, called before any other of its exports.
pub const INITIALIZE: &str = "_initialize";

/// What a core module's function takes or gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// 32 bits, with a sign or without.
    I32,
    /// 64 bits, with a sign or without.
    I64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
    /// A vector.
    V128,
    /// A reference of any type.
    Reference,
}

impl Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Reference => "reference",
        })
    }
}

/// A value of a [`ValueType`] but a reference; of a float its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Of [`ValueType::I32`].
    I32(i32),
    /// Of [`ValueType::I64`].
    I64(i64),
    /// Of [`ValueType::F32`].
    F32(u32),
    /// Of [`ValueType::F64`].
    F64(u64),
    /// Of [`ValueType::V128`].
    V128(u128),
}

impl Value {
    /// What is made of text as a value of this kind. An integer may be written with a sign, or as
    /// one that has none.
    fn parse(kind: ValueType, text: &str) -> Option<Self> {
        match kind {
            ValueType::I32 => integer(text, i32::from_str, |n: u32| n.cast_signed()).map(Self::I32),
            ValueType::I64 => integer(text, i64::from_str, |n: u64| n.cast_signed()).map(Self::I64),
            ValueType::F32 => text.parse().ok().map(|n: f32| Self::F32(n.to_bits())),
            ValueType::F64 => text.parse().ok().map(|n: f64| Self::F64(n.to_bits())),
            ValueType::V128 | ValueType::Reference => None,
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::I32(n) => n.fmt(f),
            Self::I64(n) => n.fmt(f),
            Self::F32(bits) => f32::from_bits(bits).fmt(f),
            Self::F64(bits) => f64::from_bits(bits).fmt(f),
            Self::V128(bits) => write!(f, "{bits:#034x}"),
        }
    }
}

fn integer<S, U: FromStr>(
    text: &str,
    signed: impl Fn(&str) -> Result<S, std::num::ParseIntError>,
    cast: impl Fn(U) -> S,
) -> Option<S> {
    signed(text).ok().or_else(|| text.parse().ok().map(cast))
}

/// Checks that a core module's `export` can be called: a command's start as such, anything else with
/// arguments of text.
///
/// # Errors
/// What is wrong with its signature.
pub fn check(export: &str, parameters: &[ValueType], results: &[ValueType]) -> Result<(), String> {
    if export == START {
        if parameters.is_empty() && results.is_empty() {
            return Ok(());
        }
        return Err(format!(
            "the start of a command takes and gives nothing, and this takes ({}) and gives ({})",
            list(parameters),
            list(results)
        ));
    }
    let unfit = |kind: &&ValueType| matches!(kind, ValueType::V128 | ValueType::Reference);
    match parameters.iter().find(unfit) {
        Some(kind) => Err(format!(
            "it takes ({}), and an argument cannot be a {kind}, only a number",
            list(parameters)
        )),
        None => Ok(()),
    }
}

/// The values for a core module's function, of the container's arguments.
///
/// # Errors
/// Those of [`arguments`].
pub fn numbers(parameters: &[ValueType], args: &[String]) -> Result<Vec<Value>, String> {
    arguments(parameters, args, |kind, text| Value::parse(*kind, text))
}

/// The values for a function, of the container's arguments behind the program's name. One without
/// parameters may have any: it reads them as a program does.
///
/// # Errors
/// What does not fit, to be said after the function's name.
pub fn arguments<T: Display, V>(
    parameters: &[T],
    args: &[String],
    parse: impl Fn(&T, &str) -> Option<V>,
) -> Result<Vec<V>, String> {
    if parameters.is_empty() {
        return Ok(Vec::new());
    }
    let args = args.get(1..).unwrap_or_default();
    if args.len() != parameters.len() {
        return Err(format!(
            "takes {} ({}), but the container's arguments are {}",
            plural(parameters.len(), "argument"),
            list(parameters),
            args.len()
        ));
    }
    let pairs = parameters.iter().zip(args);
    pairs
        .map(|(parameter, text)| {
            parse(parameter, text)
                .ok_or_else(|| format!("takes {parameter}, which {text:?} cannot be"))
        })
        .collect()
}

/// Writes a line to our own stdout or stderr, unbuffered: what a function that was called by name
/// gives.
pub fn write_line(stream: &impl AsFd, text: &impl Display) {
    let own = stream.as_fd().try_clone_to_owned().map(File::from);
    let written = own.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()));
    // That the log is gone can be told to no one else.
    drop(written);
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{Value, ValueType, check, numbers};

    fn args(list: &[&str]) -> Vec<String> {
        std::iter::once("/app.wasm")
            .chain(list.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn numbers_are_read_with_and_without_a_sign_and_shown_with_one() {
        let kinds = [
            ValueType::I32,
            ValueType::I64,
            ValueType::F32,
            ValueType::F64,
        ];
        let given = args(&["4294967295", "-2", "1e3", "0.5"]);
        let shown: Vec<_> = numbers(&kinds, &given)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["-1", "-2", "1000", "0.5"]);
        let vector = Value::V128(0xff).to_string();
        assert_eq!(vector, "0x000000000000000000000000000000ff");
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let kinds = [ValueType::I32, ValueType::I32];
        for (given, expected) in [
            (
                &["1"][..],
                "takes 2 arguments (i32, i32), but the container's arguments are 1",
            ),
            (&["1", "two"], "takes i32, which \"two\" cannot be"),
            (
                &["1", "4294967296"],
                "takes i32, which \"4294967296\" cannot be",
            ),
        ] {
            assert_eq!(numbers(&kinds, &args(given)).unwrap_err(), expected);
        }
    }

    /// They are left to the program.
    #[test]
    fn a_function_without_parameters_takes_no_arguments() {
        assert_eq!(numbers(&[], &args(&["a", "b"])), Ok(Vec::new()));
    }

    #[test]
    fn a_start_takes_and_gives_nothing_and_no_argument_is_a_vector() {
        assert_eq!(check("_start", &[], &[]), Ok(()));
        assert_eq!(
            check("add", &[ValueType::I32], &[ValueType::Reference]),
            Ok(())
        );
        assert_eq!(
            check("_start", &[ValueType::I32], &[]).unwrap_err(),
            "the start of a command takes and gives nothing, and this takes (i32) and gives ()"
        );
        assert_eq!(
            check("mix", &[ValueType::I32, ValueType::V128], &[]).unwrap_err(),
            "it takes (i32, v128), and an argument cannot be a v128, only a number"
        );
    }
}
