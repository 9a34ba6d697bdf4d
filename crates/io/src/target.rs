//! Where a stream goes: containerd's path or URI, parsed.
//!
//! Follows containerd's `createIO` (`cmd/containerd-shim-runc-v2/process/io.go`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::Error;

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nowhere.
    Null,
    /// A FIFO.
    Fifo(PathBuf),
    /// A file, to append to.
    File(PathBuf),
    /// A logging driver.
    Driver(Program),
}

/// A logging driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its absolute path on the node.
    pub(crate) path: PathBuf,
    /// Its arguments: each parameter of the query is its name and its value.
    pub(crate) args: Vec<String>,
    /// Whether it must write to the pipe to be ready (`binary-v2`), or may just close it (`binary`).
    pub(crate) must_speak: bool,
}

impl Target {
    /// Parses `text`, which containerd gave for `stream`.
    ///
    /// # Errors
    /// [`Error::Scheme`] if the scheme is unknown, [`Error::Host`] if it is of a host, [`Error::NoPath`]
    /// if the path is missing.
    pub(crate) fn parse(stream: &'static str, text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = scheme(text) else {
            return Ok(Self::Fifo(PathBuf::from(text)));
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Between `//` and the next slash a URI has its host. runc's shim ignores it, so that a relative
        // path loses its first directory.
        let (host, path) = match path.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", path),
        };
        let path = PathBuf::from(OsString::from_vec(unescaped(path, false)));
        let target = match scheme {
            "fifo" => Self::Fifo(path.clone()),
            "file" => Self::File(path.clone()),
            "binary" | "binary-v2" => Self::Driver(Program {
                path: path.clone(),
                args: arguments(query),
                must_speak: scheme == "binary-v2",
            }),
            _ => {
                return Err(Error::Scheme {
                    stream,
                    uri: text.to_owned(),
                });
            }
        };
        if !path.as_os_str().is_empty() && !["", "localhost"].contains(&host) {
            return Err(Error::Host {
                stream,
                uri: text.to_owned(),
                host: host.to_owned(),
                scheme: scheme.to_owned(),
            });
        }
        if !path.is_absolute() {
            return Err(Error::NoPath {
                stream,
                uri: text.to_owned(),
            });
        }
        Ok(target)
    }

    /// Whether this target of stdout takes stderr as well: both are the same, or stderr has none.
    pub(crate) fn takes_both(&self, stderr: &Self) -> bool {
        match self {
            Self::File(_) | Self::Driver(_) => self == stderr || *stderr == Self::Null,
            Self::Null | Self::Fifo(_) => false,
        }
    }
}

/// The scheme of a URI and what follows its colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let begins = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on = letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    (begins && goes_on).then_some((scheme, rest))
}

/// The arguments that a query gives a driver. If a parameter is there twice, the first counts.
fn arguments(query: &str) -> Vec<String> {
    let text = |part: &str| String::from_utf8_lossy(&unescaped(part, true)).into_owned();
    let mut arguments: Vec<(String, String)> = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = text(name);
        if !arguments.iter().any(|(known, _)| *known == name) {
            arguments.push((name, text(value)));
        }
    }
    let both = arguments.into_iter().flat_map(<[String; 2]>::from);
    both.collect()
}

/// Replaces `%XX` by its byte, and in a query `+` by a space.
fn unescaped(text: &str, in_query: bool) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut plain = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        plain.push(match byte {
            b'%' => match escaped(after) {
                Some((value, after)) => {
                    rest = after;
                    value
                }
                None => b'%',
            },
            b'+' if in_query => b' ',
            byte => *byte,
        });
    }
    plain
}

/// The byte of two hexadecimal digits, and the rest.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_at_checked(2)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u8::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::{Program, Target};
    use std::path::{Path, PathBuf};

    fn parsed(text: &str) -> Target {
        Target::parse("stdout", text).unwrap()
    }

    #[test]
    fn a_path_is_a_fifos_and_a_uri_says_what_it_is() {
        let fifo = Target::Fifo("/run/a:b/out".into());
        assert_eq!(parsed("/run/a:b/out"), fifo);
        assert_eq!(parsed("fifo:///run/a:b/out"), fifo);
        assert_eq!(
            parsed("file:///var/log/a"),
            Target::File("/var/log/a".into())
        );
        assert_eq!(parsed("file:/var/a%20b%"), Target::File("/var/a b%".into()));
        assert_eq!(parsed(""), Target::Null);
    }

    #[test]
    fn each_parameter_of_a_driver_becomes_its_name_and_its_value() {
        let driver = |text: &str| match parsed(text) {
            Target::Driver(driver) => driver,
            other => panic!("{other:?}"),
        };
        let Program {
            path,
            args,
            must_speak,
        } = driver("binary:///usr/bin/log?id=a+b%21&_raw&id=again&x=1=2#end");
        assert_eq!(path, Path::new("/usr/bin/log"));
        assert_eq!(args, ["id", "a b!", "_raw", "", "x", "1=2"]);
        assert!(!must_speak);
        assert!(driver("binary-v2:///usr/bin/log").must_speak);
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_is_known() {
        let error = Target::parse("stderr", "syslog://local").unwrap_err();
        assert_eq!(
            error.to_string(),
            "stderr \"syslog://local\" has a scheme that is not known: there are fifo, file, binary \
             and binary-v2, and paths of FIFOs"
        );
        for text in ["file://", "file:name", "binary://host"] {
            let error = Target::parse("stdout", text).unwrap_err().to_string();
            assert!(error.contains("names no absolute path"), "{error}");
        }
        assert_eq!(parsed("/a"), Target::Fifo(PathBuf::from("/a")));
    }

    #[test]
    fn a_relative_path_is_not_taken_for_a_host() {
        let error = Target::parse("stdout", "file://relative/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "stdout \"file://relative/x\" names the host \"relative\", and this node is meant: begin its \
             path with a third slash, as in file:///var/log/it"
        );
        for scheme in ["fifo", "binary", "binary-v2"] {
            let error = Target::parse("stdout", &format!("{scheme}://usr/bin/log"));
            assert!(matches!(error, Err(crate::Error::Host { .. })), "{error:?}");
        }
        assert_eq!(parsed("file://localhost/x"), Target::File("/x".into()));
    }
}
