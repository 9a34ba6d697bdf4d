//! The runtime options: what containerd's configuration says of this runtime.
//!
//! They come twice, to `start` and with each Create, as one of two messages. Of both kinds only
//! what is known counts: other tools write keys of other runtimes into every handler's options,
//! so that an unknown key is worth a warning and never a failure. docs/options.md lists them all.

use std::io::Read;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::{self, CodedInputStream, Message};
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use medley_container::shim::MAX_COMPILERS;
use medley_types::EngineKind;

/// The message for every runtime but runc's: a path to TOML, or TOML.
const GENERIC: &str = "runtimeoptions.v1.Options";

/// The message of runc's own shim, which the CRI sends for pods with a user namespace.
const RUNC: &str = "containerd.runc.v1.Options";

/// Most that is read of a file with options, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Keys of runc's shim and of its users that need nothing here, or that there is nothing for.
const NOT_NEEDED: [&str; 10] = [
    "BinaryName",
    "ConfigBody",
    "ConfigPath",
    "CriuImagePath",
    "CriuPath",
    "CriuWorkPath",
    "IoGid",
    "IoUid",
    "Root",
    "TypeUrl",
];

/// What the options say. Each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Where native code is kept.
    pub cache: Option<CacheDir>,
    /// The engine of a module that asks for none.
    pub default_engine: Option<EngineKind>,
    /// Whether the root is moved instead of pivoted, for nodes whose root is a ramdisk.
    pub no_pivot_root: bool,
    /// Bytes of stack of a Wasm guest of which its spec has no limit.
    pub stack: Option<u64>,
    /// Whether systemd makes the cgroup of a container whose `cgroupsPath` names a scope; told from
    /// the node, if it is not said.
    pub systemd_cgroup: Option<bool>,
    /// Whether containers keep the session keyring that the shim has.
    pub no_new_keyring: bool,
    /// How many compilers may run at a time.
    pub compilers: Option<NonZeroU32>,
    /// The cgroup for the shim itself; empty for none.
    pub shim_cgroup: String,
    /// What was said that means nothing here.
    pub unknown: Vec<String>,
    /// What was said that is not needed here.
    pub ignored: Vec<String>,
}

/// Where native code is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheDir {
    /// Nowhere.
    Off,
    /// In this directory.
    At(PathBuf),
}

impl CacheDir {
    /// As written in an option or in the environment: `off`, or a directory.
    #[must_use]
    pub fn named(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        if dir.as_os_str() == "off" {
            Self::Off
        } else {
            Self::At(dir)
        }
    }

    /// The directory, if there is one.
    #[must_use]
    pub fn dir(self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::At(dir) => Some(dir),
        }
    }
}

/// Why the options can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// Not of the type that they are said to be.
    #[error("the runtime options are not a valid {kind} message")]
    Message {
        kind: &'static str,
        source: protobuf::Error,
    },
    /// It is unknown relative to what.
    #[error("the runtime options' ConfigPath is {}, which is not an absolute path", path.display())]
    Relative { path: PathBuf },
    /// The file.
    #[error("cannot read the runtime options' ConfigPath {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("the runtime options in {place} are not TOML: line {line}: {what}")]
    Toml {
        place: String,
        line: usize,
        what: String,
    },
    /// A value that makes no sense.
    #[error("the runtime option {key} in {place} is {found}: {expected}")]
    Value {
        place: String,
        key: String,
        found: String,
        expected: &'static str,
    },
}

impl RuntimeOptions {
    /// Reads the options out of a message, as containerd sends it: the type's name and its bytes.
    /// An unknown type says nothing.
    ///
    /// # Errors
    /// [`Error`], one sentence.
    pub fn parse(kind: &str, bytes: &[u8]) -> Result<Self, Error> {
        if is(kind, GENERIC) {
            let (path, body) = generic(bytes)?;
            let mut options = Self::default();
            if !path.as_os_str().is_empty() {
                options.merge(&format!("the file {}", path.display()), &read(&path)?)?;
            }
            options.merge("ConfigBody", &body)?;
            Ok(options)
        } else if is(kind, RUNC) {
            let options = RuncOptions::parse_from_bytes(bytes)
                .map_err(|source| Error::Message { kind: RUNC, source })?;
            Ok(Self::of_runc(options))
        } else {
            Ok(Self {
                unknown: vec![format!("the type {kind:?}")],
                ..Self::default()
            })
        }
    }

    /// Tells of what has no effect.
    pub fn log(&self, id: &str) {
        if !self.unknown.is_empty() {
            log::warn!(
                "{id}: unknown in the runtime options, and ignored: {}",
                self.unknown.join(", ")
            );
        }
        if !self.ignored.is_empty() {
            log::debug!(
                "{id}: of no use to this runtime, and ignored: {}",
                self.ignored.join(", ")
            );
        }
    }

    fn of_runc(options: RuncOptions) -> Self {
        let ignored = [
            (!options.binary_name.is_empty(), "BinaryName"),
            (!options.root.is_empty(), "Root"),
            (options.io_uid != 0, "IoUid"),
            (options.io_gid != 0, "IoGid"),
            (!options.criu_image_path.is_empty(), "CriuImagePath"),
            (!options.criu_work_path.is_empty(), "CriuWorkPath"),
        ];
        let ignored = ignored.into_iter().filter(|(given, _)| *given);
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            // The message can't tell `false` from nothing.
            systemd_cgroup: options.systemd_cgroup.then_some(true),
            ignored: ignored.map(|(_, key)| key.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Takes over what `text`, which is TOML and comes from `place`, says.
    fn merge(&mut self, place: &str, text: &[u8]) -> Result<(), Error> {
        for (key, value) in &table(place, text)? {
            let wrong = |expected| Error::Value {
                place: place.to_owned(),
                key: key.clone(),
                found: shown(value),
                expected,
            };
            let text = || value.as_str();
            match key.as_str() {
                "Cache" => {
                    const EXPECTED: &str = "it must be an absolute path, or \"off\"";
                    let dir = text().ok_or_else(|| wrong(EXPECTED))?;
                    let cache = CacheDir::named(dir);
                    if matches!(&cache, CacheDir::At(dir) if !dir.is_absolute()) {
                        return Err(wrong(EXPECTED));
                    }
                    self.cache = Some(cache);
                }
                "DefaultEngine" => {
                    const EXPECTED: &str = "it must be \"wasmtime\", \"wasmedge\" or \"wasmer\"";
                    let engine = text().and_then(|name| name.parse().ok());
                    self.default_engine = Some(engine.ok_or_else(|| wrong(EXPECTED))?);
                }
                "NoPivotRoot" => {
                    let no_pivot = value.as_bool();
                    self.no_pivot_root =
                        no_pivot.ok_or_else(|| wrong("it must be true or false"))?;
                }
                "Stack" => {
                    const EXPECTED: &str =
                        "it must be a number of bytes, from 65536 (64 KiB) to 1073741824 (1 GiB)";
                    let bytes = value.as_integer().and_then(|bytes| bytes.try_into().ok());
                    let stack = bytes.filter(|bytes| medley_engine::STACK_LIMITS.contains(bytes));
                    self.stack = Some(stack.ok_or_else(|| wrong(EXPECTED))?);
                }
                "SystemdCgroup" => match value.as_bool() {
                    Some(systemd) => self.systemd_cgroup = Some(systemd),
                    None => self.ignored.push(key.clone()),
                },
                "NoNewKeyring" => {
                    let no_new = value.as_bool();
                    self.no_new_keyring =
                        no_new.ok_or_else(|| wrong("it must be true or false"))?;
                }
                "Compilers" => {
                    let number = value.as_integer().and_then(|number| number.try_into().ok());
                    let compilers = number.and_then(compilers);
                    self.compilers = Some(compilers.ok_or_else(|| wrong(COMPILERS))?);
                }
                "ShimCgroup" => {
                    let path = text().ok_or_else(|| wrong("it must be a path"))?;
                    path.clone_into(&mut self.shim_cgroup);
                }
                known if NOT_NEEDED.contains(&known) => self.ignored.push(key.clone()),
                _ => self.unknown.push(key.clone()),
            }
        }
        Ok(())
    }
}

/// What a number of compilers must be.
pub const COMPILERS: &str = "it must be a number of compilers, from 1 to 256";

/// A number of compilers, if it is one.
#[must_use]
pub fn compilers(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number).filter(|number| number.get() <= MAX_COMPILERS)
}

/// Whether a type's name is this one, with or without a prefix.
fn is(kind: &str, name: &str) -> bool {
    let before = kind.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['.', '/']))
}

/// `ConfigPath` and `ConfigBody` of the generic message. The third field, a type, says nothing
/// that a shim needs: there is one kind of TOML here.
fn generic(bytes: &[u8]) -> Result<(PathBuf, Vec<u8>), Error> {
    /// Fields 2 and 3, with the wire type of bytes.
    const CONFIG_PATH: u32 = 2 << 3 | 2;
    const CONFIG_BODY: u32 = 3 << 3 | 2;
    let parse = || {
        let (mut path, mut body) = (PathBuf::new(), Vec::new());
        let mut input = CodedInputStream::from_bytes(bytes);
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                CONFIG_PATH => path = input.read_string()?.into(),
                CONFIG_BODY => body = input.read_bytes()?,
                tag => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok((path, body))
    };
    parse().map_err(|source| Error::Message {
        kind: GENERIC,
        source,
    })
}

/// A value as it is named in a sentence.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Datetime(_) => "a time".to_owned(),
        toml::Value::Array(_) => "an array".to_owned(),
        toml::Value::Table(_) => "a table".to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    if !path.is_absolute() {
        return Err(Error::Relative {
            path: path.to_owned(),
        });
    }
    let read = || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn table(place: &str, text: &[u8]) -> Result<toml::Table, Error> {
    let malformed = |line, what| Error::Toml {
        place: place.to_owned(),
        line,
        what,
    };
    let line = |at: usize| 1 + text.iter().take(at).filter(|byte| **byte == b'\n').count();
    let utf8 = std::str::from_utf8(text)
        .map_err(|error| malformed(line(error.valid_up_to()), "it is not UTF-8".to_owned()))?;
    utf8.parse::<toml::Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        malformed(line(at), error.message().replace('\n', ", "))
    })
}

/// What holds for any options: they are read, or refused in one line.
#[cfg(any(test, fuzzing))]
pub mod fuzz {
    use super::{GENERIC, RUNC, RuntimeOptions};

    /// Reads `input` as the body of the generic message, and as runc's message.
    pub fn runtime_options(input: &[u8]) {
        /// Field 3, with the wire type of bytes.
        const CONFIG_BODY: u8 = 3 << 3 | 2;
        // A length in two bytes.
        let body = &input[..input.len().min((1 << 14) - 1)];
        let length = body.len().to_le_bytes();
        let (low, high) = (length[0] | 0x80, length[0] >> 7 | length[1] << 1);
        let generic = [&[CONFIG_BODY, low, high][..], body].concat();
        for (kind, message) in [(GENERIC, generic.as_slice()), (RUNC, input)] {
            if let Err(error) = RuntimeOptions::parse(kind, message) {
                let sentence = error.to_string();
                assert!(!sentence.contains(['\n', '\0']), "{sentence:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
