//! The calls that containerd makes: flags in the manner of Go, then an action.

use std::ffi::OsString;

use containerd_shim::Flags;
use go_flag::FlagError;

use super::help;
use super::usage::Usage;

/// The flags, as a sentence names them.
const FLAGS: &str = "there are -namespace, -id, -bundle, -address, -publish-binary, -socket, -debug, \
                     -info, -v and -version";

/// What containerd asks for.
#[derive(Debug)]
pub(crate) enum Call {
    Info,
    Version,
    Start(Flags),
    Delete(Flags),
    Serve(Flags),
}

/// Parses the whole command line; `None` if help is asked for. As in Go's `flag` package, one dash is as good as two, and flags
/// end at the first argument that is none. What is behind the action means nothing.
pub(super) fn parse(args: &[OsString]) -> Result<Option<Call>, Usage> {
    let mut flags = Flags::default();
    let (mut v, mut version, mut h, mut help) = (false, false, false, false);
    let rest: Vec<OsString> = go_flag::parse_args(args, |known| {
        known.add_flag("debug", &mut flags.debug);
        known.add_flag("v", &mut v);
        known.add_flag("version", &mut version);
        known.add_flag("h", &mut h);
        known.add_flag("help", &mut help);
        known.add_flag("namespace", &mut flags.namespace);
        known.add_flag("id", &mut flags.id);
        known.add_flag("socket", &mut flags.socket);
        known.add_flag("bundle", &mut flags.bundle);
        known.add_flag("address", &mut flags.address);
        known.add_flag("publish-binary", &mut flags.publish_binary);
        known.add_flag("info", &mut flags.info);
    })
    .map_err(|error| Usage(sentence(&error)))?;
    flags.version = v || version;
    if let Some(action) = rest.first() {
        flags.action = action.to_string_lossy().into_owned();
    }
    let asks = |arg: &OsString| ["-h", "-help", "--help"].iter().any(|help| arg == help);
    if h || help || rest.get(1).is_some_and(asks) {
        return Ok(None);
    }
    Ok(Some(match flags.action.as_str() {
        // Before anything else: containerd asks it for each container that it creates.
        _ if flags.info => Call::Info,
        _ if flags.version => Call::Version,
        "start" => Call::Start(flags),
        "delete" => Call::Delete(flags),
        "" if !flags.socket.is_empty() => Call::Serve(flags),
        "" => return Err(Usage(help::none())),
        action => return Err(Usage(help::unknown(action))),
    }))
}

fn sentence(error: &FlagError) -> String {
    match error {
        FlagError::UnknownFlag { name } => format!("there is no flag -{name}: {FLAGS}"),
        FlagError::ArgumentNeeded { name } => format!("the flag -{name} needs a value"),
        FlagError::BadFlag { flag } => format!("{flag:?} is no flag: {FLAGS}"),
        FlagError::ParseError { error } => format!("a flag's value cannot be read: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, parse};
    use crate::cli::usage::Usage;
    use std::ffi::OsString;

    fn call(line: &str) -> Result<Option<Call>, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&args).map_err(|Usage(reason)| reason)
    }

    #[test]
    fn containerds_own_calls_are_read_as_its_library_reads_them() {
        let everything = "-namespace default -id 123 -address /c.sock -publish-binary /bin/c \
                          -bundle /b -socket /s -debug";
        for line in [
            format!("{everything} start"),
            format!("{everything} delete"),
            everything.to_owned(),
            everything.replace(" -", " --"),
            "-namespace=k8s.io -debug=false -id=a start".to_owned(),
            "-namespace k8s.io start -id unread".to_owned(),
            "-debug=true -socket unix:///s".to_owned(),
        ] {
            let args: Vec<&str> = line.split_whitespace().collect();
            let theirs = containerd_shim::parse(&args).unwrap();
            let (action, ours) = match call(&line).unwrap().unwrap() {
                Call::Start(flags) => ("start", flags),
                Call::Delete(flags) => ("delete", flags),
                Call::Serve(flags) => ("", flags),
                other => panic!("{line}: {other:?}"),
            };
            assert_eq!(action, theirs.action, "{line}");
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{line}");
        }
    }

    #[test]
    fn what_this_is_is_told_before_anything_is_done() {
        for line in [
            "-info",
            "-info -namespace x start",
            "-debug --info",
            "-info -v",
        ] {
            assert!(matches!(call(line), Ok(Some(Call::Info))), "{line}");
        }
        for line in ["-v", "-version", "--version", "-v -id x delete"] {
            assert!(matches!(call(line), Ok(Some(Call::Version))), "{line}");
        }
    }

    #[test]
    fn help_is_a_flag_or_stands_behind_the_action() {
        for line in [
            "-h",
            "--help",
            "-help",
            "-id x -help start",
            "start --help",
            "delete -h",
        ] {
            assert!(matches!(call(line), Ok(None)), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        for (line, words) in [
            ("", "there are install"),
            ("-debug", "there are install"),
            ("stop", "there is no command \"stop\": there are install"),
            (
                "-frobnicate start",
                "there is no flag -frobnicate: there are -namespace",
            ),
            ("-id", "the flag -id needs a value"),
            ("-debug=maybe start", "cannot be read"),
            ("-=x", "is no flag"),
        ] {
            let reason = call(line).unwrap_err();
            assert!(reason.contains(words), "{line}: {reason}");
        }
    }
}
