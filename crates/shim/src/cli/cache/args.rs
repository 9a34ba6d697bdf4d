//! What the command line of `cache` says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};
use medley_image::cache::Policy;
use medley_types::EngineKind;

use super::help;
use crate::cli::usage::Usage;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Command(Command),
    /// This text.
    Help(String),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) dir: Option<PathBuf>,
    pub(super) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verb {
    List,
    Stat,
    /// Down to the cache's limit, if no policy is named.
    Prune(Option<Policy>),
    Warm(Warm),
}

/// What is to be warmed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Warm {
    /// Files, or names of images.
    pub(super) names: Vec<OsString>,
    pub(super) engine: Option<EngineKind>,
    /// The socket of the containerd that has the images; that of the environment, if `None`.
    pub(super) address: Option<PathBuf>,
    pub(super) namespace: Option<String>,
}

/// Options and words, before it is known whether they go together.
#[derive(Debug, Default)]
struct Line {
    words: Vec<OsString>,
    dir: Option<PathBuf>,
    json: bool,
    wants_help: bool,
    policy: Option<Policy>,
    warm: Warm,
}

/// Parses the arguments after `cache`.
pub(super) fn parse(args: &[OsString]) -> Result<Parsed, Usage> {
    let mut line = Line::read(args)?;
    let mut words = std::mem::take(&mut line.words).into_iter();
    let Some(verb) = words.next().filter(|verb| verb != "help") else {
        let verb = words.next();
        return Ok(Parsed::Help(help::of(verb.as_deref())));
    };
    if line.wants_help {
        return Ok(Parsed::Help(help::of(Some(&verb))));
    }
    let rest: Vec<OsString> = words.collect();
    let verb = match verb.to_string_lossy().as_ref() {
        "warm" if rest.is_empty() => {
            return Err(Usage("warm needs a module's file, or an image".to_owned()));
        }
        "warm" => Verb::Warm(Warm {
            names: rest,
            ..std::mem::take(&mut line.warm)
        }),
        verb @ ("ls" | "stat" | "prune") if !rest.is_empty() => {
            return Err(Usage(format!("{verb} takes no {}", rest[0].display())));
        }
        "ls" => Verb::List,
        "stat" => Verb::Stat,
        "prune" => Verb::Prune(line.policy.take()),
        verb => {
            return Err(Usage(format!(
                "there is no {verb:?}: ls, stat, prune and warm are"
            )));
        }
    };
    if line.policy.is_some() || line.warm != Warm::default() {
        return Err(Usage("an option does not go with this command".to_owned()));
    }
    Ok(Parsed::Command(Command {
        verb,
        dir: line.dir,
        json: line.json,
    }))
}

impl Line {
    fn read(args: &[OsString]) -> Result<Self, Usage> {
        let mut parser = lexopt::Parser::from_args(args.iter().cloned());
        let mut line = Self::default();
        let wrong = |error: lexopt::Error| Usage(error.to_string());
        while let Some(arg) = parser.next().map_err(wrong)? {
            match arg {
                Short('h') | Long("help") => line.wants_help = true,
                Long(name) => {
                    let name = name.to_owned();
                    line.option(&name, &mut parser)?;
                }
                Short(name) => return Err(unknown(&format!("-{name}"))),
                Value(word) => line.words.push(word),
            }
        }
        Ok(line)
    }

    fn option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), Usage> {
        let mut value = |what: &str| {
            let value = parser.value();
            value.map_err(|_| Usage(format!("--{name} needs {what}")))
        };
        match name {
            "json" => self.json = true,
            "all" => self.prune(Policy::All)?,
            // The name that it had.
            "dir" | "folder" => self.dir = Some(value("a directory")?.into()),
            "older-than" => {
                let age = value("an age")?;
                self.prune(Policy::OlderThan(parse_age(&age.to_string_lossy())?))?;
            }
            "to-size" => {
                let size = value("a size")?;
                self.prune(Policy::ToSize(parse_size(&size.to_string_lossy())?))?;
            }
            "engine" => {
                let engine = value("an engine")?.to_string_lossy().parse();
                self.warm.engine = Some(engine.map_err(|error| Usage(format!("{error}")))?);
            }
            "address" => self.warm.address = Some(value("a socket")?.into()),
            "namespace" => {
                let namespace = value("a namespace")?;
                self.warm.namespace = Some(namespace.to_string_lossy().into_owned());
            }
            name => return Err(unknown(&format!("--{name}"))),
        }
        Ok(())
    }

    fn prune(&mut self, policy: Policy) -> Result<(), Usage> {
        match self.policy.replace(policy) {
            None => Ok(()),
            Some(_) => Err(Usage(
                "--all, --older-than and --to-size exclude each other".to_owned(),
            )),
        }
    }
}

fn unknown(option: &str) -> Usage {
    Usage(format!(
        "there is no option {option}: there are --dir and --json, of prune --older-than, \
         --to-size and --all, of warm --engine, --address and --namespace"
    ))
}

/// `90s`, `15m`, `12h`, `30d`.
fn parse_age(text: &str) -> Result<Duration, Usage> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .and_then(|(number, scale)| number.parse::<u64>().ok()?.checked_mul(*scale))
        .map(Duration::from_secs)
        .ok_or_else(|| Usage(format!("{text:?} is no age such as 90m, 12h, 30d")))
}

fn parse_size(text: &str) -> Result<u64, Usage> {
    medley_image::cache::parse_size(text)
        .ok_or_else(|| Usage(format!("{text:?} is no size such as 500M, 2G")))
}

#[cfg(test)]
mod tests {
    use super::{Command, Parsed, Policy, Usage, Verb, Warm, parse};
    use medley_types::EngineKind;
    use std::ffi::OsString;
    use std::time::Duration;

    fn parsed(line: &str) -> Result<Parsed, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&args).map_err(|Usage(reason)| reason)
    }

    fn command(line: &str) -> Command {
        match parsed(line).unwrap() {
            Parsed::Command(command) => command,
            Parsed::Help(text) => panic!("{line}: {text}"),
        }
    }

    fn verb(line: &str) -> Verb {
        command(line).verb
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(verb("ls"), Verb::List);
        assert_eq!(verb("stat"), Verb::Stat);
        assert_eq!(verb("prune"), Verb::Prune(None));
        assert_eq!(verb("prune --all"), Verb::Prune(Some(Policy::All)));
        let day = Policy::OlderThan(Duration::from_secs(24 * 3600));
        assert_eq!(verb("prune --older-than 1d"), Verb::Prune(Some(day)));
        for size in ["2G", "2GiB", "2048M", "2147483648"] {
            let verb = verb(&format!("prune --to-size={size}"));
            assert_eq!(verb, Verb::Prune(Some(Policy::ToSize(2 << 30))), "{size}");
        }
        let warm = Warm {
            names: vec!["a.wasm".into(), "example/app:1".into()],
            engine: Some(EngineKind::Wasmedge),
            address: Some("/c.sock".into()),
            namespace: Some("k8s.io".to_owned()),
        };
        assert_eq!(
            verb(
                "warm a.wasm example/app:1 --engine wasmedge --address=/c.sock --namespace k8s.io"
            ),
            Verb::Warm(warm)
        );
        let command = command("ls --json --dir /x");
        assert!(command.json);
        assert_eq!(command.dir.unwrap().to_str(), Some("/x"));
        let older = self::command("ls --folder /x");
        assert_eq!(older.dir.unwrap().to_str(), Some("/x"));
    }

    #[test]
    fn help_is_of_all_commands_or_of_one() {
        let help = |line: &str| match parsed(line).unwrap() {
            Parsed::Help(text) => text,
            Parsed::Command(command) => panic!("{line}: {command:?}"),
        };
        for line in ["", "--help", "-h", "help"] {
            for verb in ["ls", "stat", "prune", "warm"] {
                assert!(
                    help(line).contains(&format!("cache {verb}")),
                    "{line}: {verb}"
                );
            }
        }
        for (line, has, has_not) in [
            ("ls --help", "cache ls", "cache warm"),
            ("-h stat", "cache stat", "cache ls"),
            ("prune --older-than 1d -h", "--to-size", "--engine"),
            ("help warm", "--engine", "--to-size"),
        ] {
            let text = help(line);
            assert!(
                text.contains(has) && text.contains("--dir"),
                "{line}: {text}"
            );
            assert!(!text.contains(has_not), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("clean", "\"clean\""),
            ("ls x", "ls takes no x"),
            ("prune --older-than", "--older-than needs an age"),
            ("prune --older-than soon", "\"soon\""),
            ("prune --to-size 1T", "\"1T\""),
            ("prune --all --to-size 1", "exclude"),
            ("ls --all", "does not go with"),
            ("ls --namespace k8s.io", "does not go with"),
            ("warm", "needs a module"),
            ("warm x --engine v8", "\"v8\""),
            ("stat --verbose", "--verbose: there are --dir"),
            ("ls -x", "-x: there are --dir"),
            ("ls --json=x", "--json"),
        ] {
            let reason = parsed(line).unwrap_err();
            assert!(reason.contains(part), "{line}: {reason}");
        }
    }
}
