//! What the command line says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use medley_dispatch::EngineKind;
use medley_image::cache::Policy;

/// What `--help` prints.
pub(super) const HELP: &str = "\
The node's cache of native code, compiled from Wasm modules.

  containerd-shim-wasm-v1 cache ls                list what is in it, the last used first
  containerd-shim-wasm-v1 cache stat              tell how much it holds
  containerd-shim-wasm-v1 cache prune [WHAT]      remove what nobody uses: running containers keep theirs
      --older-than AGE                            ... and was not used for 90m, 12h, 30d
      --to-size SIZE                              ... the longest unused first, until 500M, 2G are left
      --all                                       ... whatever it is
                                                  (without any of these: down to the cache's limit)
                                                  modules that can't be compiled are tried again, but after
                                                  --to-size
  containerd-shim-wasm-v1 cache warm WHAT...      compile modules before a container needs them: files, or
                                                  images that containerd has pulled
      --engine NAME                               ... by this engine, as run.oci.handler would choose
      --address SOCKET                            ... of this containerd, else $CONTAINERD_ADDRESS or
                                                  /run/containerd/containerd.sock
      --namespace NAME                            ... in this namespace (Kubernetes: k8s.io), else
                                                  $CONTAINERD_NAMESPACE or default

  --folder DIR    the cache's folder, else $CONTAINERD_SHIM_WASM_CACHE or /var/lib/containerd-shim-wasm/cache
  --json          for programs

Exit status: 0 done, 1 something could not be done, 2 wrong usage.
";

/// A command line that can't be understood, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage(pub(super) String);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) folder: Option<PathBuf>,
    pub(super) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verb {
    List,
    Stat,
    Prune(Option<Policy>),
    Warm(Warm),
}

/// What is to be warmed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warm {
    /// Files, or names of images.
    pub(super) names: Vec<OsString>,
    pub(super) engine: Option<EngineKind>,
    /// The containerd that has the images, if it is told.
    pub(super) address: Option<PathBuf>,
    pub(super) namespace: Option<String>,
}

/// Parses the arguments after `cache`; `None` if help is wanted.
pub(super) fn parse(args: &[OsString]) -> Result<Option<Command>, Usage> {
    let mut words = Vec::new();
    let (mut folder, mut json, mut policy, mut engine) = (None, false, None, None);
    let (mut address, mut namespace) = (None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (&*text, None),
        };
        let mut value = |what: &str| {
            inline
                .clone()
                .or_else(|| args.next().cloned())
                .ok_or_else(|| Usage(format!("{name} needs {what}")))
        };
        let mut prune = |new| match policy.replace(new) {
            None => Ok(()),
            Some(_) => Err(Usage(
                "--all, --older-than and --to-size exclude each other".to_owned(),
            )),
        };
        match name {
            "--help" | "-h" | "help" => return Ok(None),
            "--json" => json = true,
            "--all" => prune(Policy::All)?,
            "--folder" => folder = Some(PathBuf::from(value("a folder")?)),
            "--older-than" => {
                let age = value("an age")?;
                prune(Policy::OlderThan(parse_age(&age.to_string_lossy())?))?;
            }
            "--to-size" => {
                let size = value("a size")?;
                prune(Policy::ToSize(parse_size(&size.to_string_lossy())?))?;
            }
            "--engine" => {
                let name = value("an engine")?;
                let name = name.to_string_lossy();
                engine = Some(name.parse().map_err(|error| Usage(format!("{error}")))?);
            }
            "--address" => address = Some(PathBuf::from(value("a socket")?)),
            "--namespace" => {
                let name = value("a namespace")?;
                namespace = Some(name.to_string_lossy().into_owned());
            }
            option if option.starts_with('-') => {
                return Err(Usage(format!("there is no option {option}")));
            }
            _ => words.push(arg.clone()),
        }
    }
    let mut words = words.into_iter();
    let verb = words.next();
    let rest: Vec<OsString> = words.collect();
    let verb = match verb.as_ref().map(|verb| verb.to_string_lossy()).as_deref() {
        None => return Ok(None),
        Some("warm") if rest.is_empty() => {
            return Err(Usage("warm needs a module's file, or an image".to_owned()));
        }
        Some("warm") => Verb::Warm(Warm {
            names: rest,
            engine: engine.take(),
            address: address.take(),
            namespace: namespace.take(),
        }),
        Some(verb) if !rest.is_empty() => {
            return Err(Usage(format!("{verb} takes no {}", rest[0].display())));
        }
        Some("ls") => Verb::List,
        Some("stat") => Verb::Stat,
        Some("prune") => Verb::Prune(policy.take()),
        Some(verb) => {
            return Err(Usage(format!(
                "there is no {verb:?}: ls, stat, prune and warm are"
            )));
        }
    };
    if policy.is_some() || engine.is_some() || address.is_some() || namespace.is_some() {
        return Err(Usage("an option does not go with this command".to_owned()));
    }
    Ok(Some(Command { verb, folder, json }))
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
    use super::{Command, Policy, Usage, Verb, Warm, parse};
    use medley_dispatch::EngineKind;
    use std::ffi::OsString;
    use std::time::Duration;

    fn parsed(line: &str) -> Result<Option<Command>, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&args).map_err(|Usage(reason)| reason)
    }

    fn verb(line: &str) -> Verb {
        parsed(line).unwrap().unwrap().verb
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
        assert_eq!(parsed(""), Ok(None));
        assert_eq!(parsed("ls --help"), Ok(None));
        let command = parsed("ls --json --folder /x").unwrap().unwrap();
        assert!(command.json);
        assert_eq!(command.folder.unwrap().to_str(), Some("/x"));
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
            ("stat --verbose", "--verbose"),
        ] {
            let reason = parsed(line).unwrap_err();
            assert!(reason.contains(part), "{line}: {reason}");
        }
    }
}
