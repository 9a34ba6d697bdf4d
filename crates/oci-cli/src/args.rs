//! Options as runc takes them: `--name value`, `--name=value`, `-n value`, and the same with one dash for
//! a long name.

use std::ffi::OsString;

use crate::failure::Failure;

/// An option of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// Its other name, of one letter.
    pub(crate) short: &'static str,
    /// What stands behind it; `None` of one that is there or not.
    pub(crate) value: Option<&'static str>,
    pub(crate) about: &'static str,
}

impl Flag {
    /// One that is there or not.
    pub(crate) const fn switch(
        name: &'static str,
        short: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            short,
            value: None,
            about,
        }
    }

    /// One with a value.
    pub(crate) const fn with(
        name: &'static str,
        short: &'static str,
        value: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            short,
            value: Some(value),
            about,
        }
    }
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Args {
    values: Vec<(&'static str, String)>,
    /// What is no option.
    pub(crate) rest: Vec<String>,
    /// Whether help was asked for.
    pub(crate) help: bool,
}

impl Args {
    /// Reads options until `positionals` arguments that are none have been met; what follows is taken as
    /// it is.
    pub(crate) fn parse(
        flags: &[Flag],
        args: impl IntoIterator<Item = OsString>,
        positionals: usize,
    ) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut args = args.into_iter().map(text);
        while let Some(arg) = args.next() {
            let arg = arg?;
            if arg == "--" {
                parsed.rest.extend(args.collect::<Result<Vec<_>, _>>()?);
                break;
            }
            let Some(option) = option(&arg) else {
                parsed.rest.push(arg);
                if parsed.rest.len() >= positionals {
                    parsed.rest.extend(args.collect::<Result<Vec<_>, _>>()?);
                    break;
                }
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if matches!(name, "help" | "h") {
                parsed.help = true;
                continue;
            }
            let flag = flags
                .iter()
                .find(|flag| flag.name == name || (!flag.short.is_empty() && flag.short == name));
            let flag = flag.ok_or_else(|| undefined(name))?;
            let value = match (flag.value, value) {
                (None, Some(value)) => truth(flag.name, &value)?.to_string(),
                (None, None) => true.to_string(),
                (Some(_), Some(value)) => value,
                (Some(_), None) => {
                    let missing = || Failure::new(format!("flag needs an argument: {arg}"));
                    args.next().ok_or_else(missing)??
                }
            };
            parsed.values.push((flag.name, value));
        }
        Ok(parsed)
    }

    /// Whether an option that is there or not is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// The value of an option; the last one counts.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let named = self.values.iter().rfind(|(given, _)| *given == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Every value of an option that may be there more than once.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.values.iter().filter(move |(given, _)| *given == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A value that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let parsed = value.parse().map_err(|_| {
            Failure::new(format!(
                "invalid value {value:?} for flag -{name}: it must be a number"
            ))
        });
        parsed.map(Some)
    }
}

/// The name of an option, with a value perhaps. `-` alone is none.
fn option(arg: &str) -> Option<&str> {
    let long = arg.strip_prefix("--");
    long.or_else(|| arg.strip_prefix('-').filter(|rest| !rest.is_empty()))
}

fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::new(format!(
            "invalid boolean value {value:?} for -{name}: it must be true or false"
        ))),
    }
}

fn text(arg: OsString) -> Result<String, Failure> {
    arg.into_string()
        .map_err(|arg| Failure::new(format!("the argument {arg:?} is not UTF-8")))
}

/// Why an option is none of the command's. containerd takes a runtime whose path it is told for a shim.
fn undefined(name: &str) -> Failure {
    let hint = match name {
        "namespace" | "address" | "publish-binary" => {
            "; this is the command line of an OCI runtime, and containerd wants a shim: name the runtime \
             io.containerd.wasm.v1 instead of this path"
        }
        _ => "",
    };
    Failure::new(format!("flag provided but not defined: -{name}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::{Args, Flag};

    const FLAGS: [Flag; 3] = [
        Flag::with("bundle", "b", "DIR", ""),
        Flag::switch("tty", "t", ""),
        Flag::with("env", "e", "NAME=VALUE", ""),
    ];

    fn parse(args: &[&str], positionals: usize) -> Result<Args, String> {
        let args = args.iter().map(Into::into);
        Args::parse(&FLAGS, args, positionals).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_option_is_written_in_each_of_gos_ways() {
        for args in [
            ["--bundle", "/b", "id"].as_slice(),
            &["--bundle=/b", "id"],
            &["-b", "/b", "id"],
            &["-b=/b", "id"],
            &["-bundle", "/b", "id"],
            &["id", "--bundle", "/b"],
        ] {
            let parsed = parse(args, usize::MAX).unwrap();
            assert_eq!(parsed.value("bundle"), Some("/b"), "{args:?}");
            assert_eq!(parsed.rest, ["id"], "{args:?}");
        }
        let parsed = parse(&["--tty=false", "-e", "A=1", "-e=B=2"], usize::MAX).unwrap();
        assert!(!parsed.has("tty"));
        assert_eq!(parsed.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
    }

    #[test]
    fn what_follows_the_positionals_belongs_to_the_program() {
        let parsed = parse(&["-t", "id", "sh", "-c", "--tty"], 1).unwrap();
        assert!(parsed.has("tty"));
        assert_eq!(parsed.rest, ["id", "sh", "-c", "--tty"]);
        let parsed = parse(&["--", "-t"], usize::MAX).unwrap();
        assert_eq!(parsed.rest, ["-t"]);
    }

    #[test]
    fn an_unknown_or_incomplete_option_is_refused() {
        for (args, reason) in [
            (
                ["--nope"].as_slice(),
                "flag provided but not defined: -nope",
            ),
            (&["--bundle"], "flag needs an argument: --bundle"),
            (
                &["--tty=x"],
                "invalid boolean value \"x\" for -tty: it must be true or false",
            ),
        ] {
            assert_eq!(parse(args, usize::MAX).unwrap_err(), reason);
        }
    }
}
