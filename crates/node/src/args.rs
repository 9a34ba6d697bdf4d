//! What the command line says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::{Long, Short};

use crate::distribution::Distribution;
use crate::names;
use crate::record::STATE;

/// How long the runtime may take to come up. k3s and its like come up with a whole Kubernetes.
const WAIT: Duration = Duration::from_secs(120);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Install,
    Uninstall,
    Status,
}

impl Verb {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "install" => Some(Self::Install),
            "uninstall" => Some(Self::Uninstall),
            "status" => Some(Self::Status),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Status => "status",
        }
    }

    pub(crate) fn help(self) -> String {
        let (text, own) = match self {
            Self::Install => (INSTALL, INSTALL_OPTIONS),
            Self::Uninstall => (UNINSTALL, UNINSTALL_OPTIONS),
            Self::Status => (STATUS, STATUS_OPTIONS),
        };
        let change = if self == Self::Status { "" } else { CHANGE };
        let known = Distribution::names();
        format!("{text}{own}{change}{COMMON}{known}.\n{END}")
    }
}

const INSTALL: &str = "\
Puts this shim on the node and makes it known to containerd, or to Docker. The second time it changes
nothing; a newer program takes the place of an older one, and running pods keep theirs.

  containerd-shim-wasm-v1 install [OPTIONS]

";

const INSTALL_OPTIONS: &str = "    \
  --handler NAME         a handler for RuntimeClasses, as often as wanted; `wasm` if none is named.
                         crun-wasmedge, crun-wasmtime, crun-wasmer and spin run what they say, any
                         other name what the container is
    --no-aliases           no links for the runtime types io.containerd.wasmedge.v1, .wasmtime.v1,
                         .wasmer.v1 and io.containerd.spin.v2
    --keep-pulls           pull images as before, which with containerd 2.1 and later leaves those of the
                         platform wasi/wasm out
    --bin-dir DIR          where the program goes, instead of where containerd looks for it
";

const UNINSTALL: &str = "\
Takes away what install has brought, and puts back what was there before.

  containerd-shim-wasm-v1 uninstall [OPTIONS]

";

const UNINSTALL_OPTIONS: &str = "    \
  --force                even while containers run, which are left running
    --kwasm                nothing of Medley's, but what KWasm's installer has left on the node
";

const STATUS: &str = "\
Tells what is on the node, and changes nothing.

  containerd-shim-wasm-v1 status [OPTIONS]

";

const STATUS_OPTIONS: &str = "    --json                 for programs\n";

/// Of what changes a node.
const CHANGE: &str = "    \
--dry-run              show what would change, as a diff, and change nothing
    --restart              have the configuration taken over, if it changed, and see that it was;
                         what does not come up is taken back
    --restart-with CMD     the same, by this command of a shell
    --wait SECONDS         how long that may take; 120
    --containerd FILE      containerd's own program, to check the configuration with
";

const COMMON: &str = "    \
--root DIR             the node's root where it is mounted, instead of /
    --nsenter              with --root: run the node's programs in the namespaces of process 1
    --distribution NAME    if it is not found
    --config FILE          containerd's configuration, if it is not where the distribution has it
    --address SOCKET       containerd's socket, likewise
    --state DIR            where it is noted what was changed; /var/lib/containerd-shim-wasm
    --help

Distributions: ";

const END: &str = "\nExit status: 0 done, 1 not done (and nothing changed), 2 wrong usage.\n";

/// A command line that can't be understood, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) String);

/// Whether the runtime is to take over what was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restart {
    No,
    /// By what the node has for it.
    Found,
    /// By this command.
    With(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What is installed: no option, but what runs now.
    pub(crate) program: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) dry_run: bool,
    pub(crate) restart: Restart,
    pub(crate) wait: Duration,
    pub(crate) nsenter: bool,
    pub(crate) force: bool,
    pub(crate) kwasm: bool,
    pub(crate) json: bool,
    pub(crate) aliases: bool,
    pub(crate) keep_pulls: bool,
    pub(crate) handlers: Vec<String>,
    pub(crate) distribution: Option<Distribution>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) address: Option<PathBuf>,
    pub(crate) bin_dir: Option<PathBuf>,
    pub(crate) containerd: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // However it is called, and be it replaced meanwhile.
            program: "/proc/self/exe".into(),
            root: "/".into(),
            state: STATE.into(),
            dry_run: false,
            restart: Restart::No,
            wait: WAIT,
            nsenter: false,
            force: false,
            kwasm: false,
            json: false,
            aliases: true,
            keep_pulls: false,
            handlers: Vec::new(),
            distribution: None,
            config: None,
            address: None,
            bin_dir: None,
            containerd: None,
        }
    }
}

/// Parses what stands behind the verb; `None` if help is wanted.
pub(crate) fn parse(verb: Verb, args: &[OsString]) -> Result<Option<Settings>, Usage> {
    let mut parser = lexopt::Parser::from_args(args.iter().cloned());
    let mut settings = Settings::default();
    let wrong = |error: lexopt::Error| Usage(error.to_string());
    while let Some(arg) = parser.next().map_err(wrong)? {
        let name = match arg {
            Short('h') => return Ok(None),
            Long("help") => return Ok(None),
            Long(name) => name.to_owned(),
            other => return Err(Usage(other.unexpected().to_string())),
        };
        if !goes_with(verb, &name) {
            let own: Vec<_> = OPTIONS.iter().filter(|it| goes_with(verb, it)).collect();
            let own: Vec<_> = own.iter().map(|it| format!("--{it}")).collect();
            let (verb, own) = (verb.name(), own.join(", "));
            return Err(Usage(format!(
                "{verb} has no option --{name}: it has {own}"
            )));
        }
        take(&mut settings, &name, &mut parser)?;
    }
    if settings.nsenter && settings.root.as_path() == Path::new("/") {
        return Err(Usage("--nsenter goes with --root".to_owned()));
    }
    Ok(Some(settings))
}

/// Every option, of any verb.
const OPTIONS: [&str; 18] = [
    "handler",
    "no-aliases",
    "keep-pulls",
    "bin-dir",
    "containerd",
    "force",
    "kwasm",
    "json",
    "root",
    "nsenter",
    "dry-run",
    "restart",
    "restart-with",
    "wait",
    "distribution",
    "config",
    "address",
    "state",
];

/// Whether an option is one of this verb's.
fn goes_with(verb: Verb, name: &str) -> bool {
    match name {
        "handler" | "no-aliases" | "keep-pulls" | "bin-dir" => verb == Verb::Install,
        "force" | "kwasm" => verb == Verb::Uninstall,
        "json" => verb == Verb::Status,
        "dry-run" | "restart" | "restart-with" | "containerd" | "wait" => verb != Verb::Status,
        "root" | "nsenter" | "distribution" | "config" | "address" | "state" => true,
        _ => false,
    }
}

fn take(settings: &mut Settings, name: &str, parser: &mut lexopt::Parser) -> Result<(), Usage> {
    let mut value = || parser.value().map_err(|error| Usage(error.to_string()));
    // A path of the node, which has no other directory to start from.
    let absolute = |value: OsString| {
        let path = PathBuf::from(value);
        if path.is_absolute() {
            Ok(path)
        } else {
            let shown = path.display();
            Err(Usage(format!(
                "--{name} is {shown}, and must begin with a /"
            )))
        }
    };
    match name {
        "root" => settings.root = PathBuf::from(value()?),
        "state" => settings.state = absolute(value()?)?,
        "config" => settings.config = Some(absolute(value()?)?),
        "address" => settings.address = Some(absolute(value()?)?),
        "bin-dir" => settings.bin_dir = Some(absolute(value()?)?),
        "containerd" => settings.containerd = Some(absolute(value()?)?),
        "dry-run" => settings.dry_run = true,
        "nsenter" => settings.nsenter = true,
        "force" => settings.force = true,
        "kwasm" => settings.kwasm = true,
        "json" => settings.json = true,
        "no-aliases" => settings.aliases = false,
        "keep-pulls" => settings.keep_pulls = true,
        "restart" if settings.restart == Restart::No => settings.restart = Restart::Found,
        "restart" => {}
        "restart-with" => {
            settings.restart = Restart::With(value()?.to_string_lossy().into_owned());
        }
        "wait" => {
            let text = value()?;
            let seconds = text.to_string_lossy().parse().ok();
            let seconds = seconds.ok_or_else(|| {
                Usage(format!("--wait is {}, and must be seconds", text.display()))
            })?;
            settings.wait = Duration::from_secs(seconds);
        }
        "handler" => {
            let handler = value()?.to_string_lossy().into_owned();
            if !names::is_handler(&handler) {
                let error = crate::error::Error::HandlerName { name: handler };
                return Err(Usage(error.to_string()));
            }
            if handler == names::RUNC {
                return Err(Usage(crate::error::Error::HandlerOfRunc.to_string()));
            }
            if !settings.handlers.contains(&handler) {
                settings.handlers.push(handler);
            }
        }
        "distribution" => {
            let text = value()?.to_string_lossy().into_owned();
            let found = Distribution::named(&text);
            settings.distribution = Some(found.ok_or_else(|| {
                let known = Distribution::names();
                Usage(format!("there is no distribution {text:?}: {known} are"))
            })?);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{OPTIONS, Restart, Settings, Usage, Verb, goes_with, parse};
    use std::ffi::OsString;

    fn parsed(verb: Verb, line: &str) -> Result<Option<Settings>, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(verb, &args).map_err(|Usage(reason)| reason)
    }

    #[test]
    fn every_option_is_understood() {
        let line = "--root=/host --handler crun --handler wasm --handler crun --restart --nsenter \
                    --bin-dir /opt/bin --distribution k3s --wait 5 --no-aliases";
        let settings = parsed(Verb::Install, line).unwrap().unwrap();
        assert_eq!(settings.handlers, ["crun", "wasm"]);
        assert_eq!(settings.restart, Restart::Found);
        assert_eq!(settings.wait.as_secs(), 5);
        assert!(settings.nsenter && !settings.aliases && !settings.dry_run);
        let with = parsed(Verb::Uninstall, "--restart --restart-with true --force");
        assert_eq!(with.unwrap().unwrap().restart, Restart::With("true".into()));
        assert_eq!(parsed(Verb::Status, "--help"), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (verb, line, words) in [
            (
                Verb::Install,
                "--force",
                "install has no option --force: it has --handler",
            ),
            (Verb::Status, "--restart", "status has no option --restart"),
            (Verb::Uninstall, "--handler x", "no option --handler"),
            (Verb::Install, "--handler Wasm", "no name for a handler"),
            (Verb::Install, "--handler runc", "by themselves"),
            (Verb::Install, "--handler", "--handler"),
            (Verb::Install, "wasm", "wasm"),
            (Verb::Install, "--bin-dir bin", "must begin with a /"),
            (Verb::Install, "--distribution openshift", "kubeadm"),
            (Verb::Install, "--nsenter", "--root"),
        ] {
            let reason = parsed(verb, line).unwrap_err();
            assert!(reason.contains(words), "{line}: {reason}");
        }
    }

    #[test]
    fn the_help_names_every_option_of_its_verb() {
        let help = Verb::Install.help();
        for option in [
            "--root",
            "--dry-run",
            "--restart",
            "--handler",
            "--bin-dir",
            "microk8s",
        ] {
            assert!(help.contains(option), "{option}");
        }
        for verb in [Verb::Install, Verb::Uninstall, Verb::Status] {
            for option in OPTIONS {
                let is_told = verb.help().contains(&format!("  --{option} "));
                assert_eq!(is_told, goes_with(verb, option), "{verb:?} --{option}");
            }
        }
        assert!(Verb::Uninstall.help().contains("--force"));
        assert!(Verb::Uninstall.help().contains("--kwasm"));
        assert!(Verb::Status.help().contains("--json"));
    }
}
