//! What the command line says.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::{Long, ValueExt};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Has Medley installed on the nodes that are annotated kwasm.sh/kwasm-node=true, and tells of it on each
node: the label medley.node/install, by which the installer's DaemonSet comes; the condition MedleyReady;
events. The annotation taken away, the label goes too, and with it Medley. The leavings of KWasm's
operator are taken away where Medley is ready.

  medley-controller [OPTIONS]

    --namespace NAME       where the installer's Pods and the lease are; its own
    --identity NAME        the holder's name in the lease; the host's name, which is the Pod's
    --lease SECONDS        how long a controller may be silent before another takes its place; 15
    --version
    --help

Several may run; one works, and the others wait for the lease. The cluster is the one that it runs in,
else that of KUBECONFIG.
";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Help,
    Version,
    Run(Settings),
}

/// How the controller runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) namespace: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) lease: Duration,
}

/// Shortest lease: a part of it has to be more than a moment.
const SHORTEST: u64 = 5;

/// Reads the command line, without the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, lexopt::Error> {
    let mut settings = Settings {
        namespace: None,
        identity: None,
        lease: Duration::from_secs(15),
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") => return Ok(Wish::Help),
            Long("version") => return Ok(Wish::Version),
            Long("namespace") => settings.namespace = Some(parser.value()?.string()?),
            Long("identity") => settings.identity = Some(parser.value()?.string()?),
            Long("lease") => {
                let seconds: u64 = parser.value()?.parse()?;
                if !(SHORTEST..=3600).contains(&seconds) {
                    return Err(format!("--lease {seconds} is not within 5 and 3600").into());
                }
                settings.lease = Duration::from_secs(seconds);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Wish::Run(settings))
}

#[cfg(test)]
mod tests {
    use super::{Settings, Wish, parse};
    use std::ffi::OsString;
    use std::time::Duration;

    fn parsed(words: &str) -> Result<Wish, String> {
        parse(words.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let Ok(Wish::Run(settings)) = parsed("") else {
            panic!("not to be run");
        };
        assert_eq!(settings.lease, Duration::from_secs(15));
        let all = parsed("--namespace a --identity=b --lease 60");
        let expected = Settings {
            namespace: Some("a".to_owned()),
            identity: Some("b".to_owned()),
            lease: Duration::from_secs(60),
        };
        assert_eq!(all, Ok(Wish::Run(expected)));
        assert_eq!(parsed("--lease 60 --help"), Ok(Wish::Help));
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        for (words, part) in [
            ("--lease 4", "not within"),
            ("--lease 4000", "not within"),
            ("--lease x", "x"),
            ("--namespace", "namespace"),
            ("--other", "--other"),
            ("word", "word"),
        ] {
            let said = parsed(words).unwrap_err();
            assert!(said.contains(part), "{words}: {said}");
        }
    }
}
