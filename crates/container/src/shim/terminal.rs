//! Which terminal a process gets.

use medley_io::Stdio;
use oci_spec::runtime::{Process, Spec};

use super::error::Error;
use crate::protocol::TerminalRequest;
use crate::spec;

/// The terminal of `process` in the container of `spec`, if it is to have one.
///
/// # Errors
/// [`Error::Terminal`] if only one of the process and the request says so.
pub(super) fn request(
    spec: &Spec,
    process: Option<&Process>,
    stdio: &Stdio,
) -> Result<Option<TerminalRequest>, Error> {
    let requested = process.is_some_and(|process| process.terminal() == Some(true));
    if requested != stdio.terminal {
        return Err(Error::Terminal {
            process: requested,
            request: stdio.terminal,
        });
    }
    Ok(process.and_then(|process| of(spec, process)))
}

/// The terminal that `process` asks for, in the container of `spec`.
pub(super) fn of(spec: &Spec, process: &Process) -> Option<TerminalRequest> {
    if process.terminal() != Some(true) {
        return None;
    }
    let count = |size: u64| u16::try_from(size).unwrap_or(u16::MAX);
    // No size at all is how some clients say that they don't know.
    let size = process
        .console_size()
        .map(|size| (count(size.height()), count(size.width())))
        .filter(|size| *size != (0, 0));
    Some(TerminalRequest {
        owner: spec::uid_of(spec, process),
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, TerminalRequest};
    use medley_io::Stdio;
    use oci_spec::runtime::Spec;

    fn ordered(terminal: &str, request: bool) -> Result<Option<TerminalRequest>, Error> {
        let spec: Spec = serde_json::from_str(&format!(
            r#"{{
                "ociVersion": "1.1.0",
                "process": {{"cwd": "/", "user": {{"uid": 5, "gid": 0}}, {terminal}}},
                "linux": {{"uidMappings": [{{"containerID": 0, "hostID": 1000, "size": 10}}]}}
            }}"#
        ))
        .unwrap();
        let stdio = Stdio {
            terminal: request,
            ..Stdio::default()
        };
        super::request(&spec, spec.process().as_ref(), &stdio)
    }

    /// It has the size that is asked for.
    #[test]
    fn a_terminal_belongs_to_the_user_on_the_node() {
        let sized = r#""terminal": true, "consoleSize": {"height": 30, "width": 100}"#;
        let owned = |size| Some(TerminalRequest { owner: 1005, size });
        assert_eq!(ordered(sized, true).unwrap(), owned(Some((30, 100))));
        let unsized_ = r#""terminal": true, "consoleSize": {"height": 0, "width": 0}"#;
        assert_eq!(ordered(unsized_, true).unwrap(), owned(None));
        assert_eq!(ordered(r#""terminal": false"#, false).unwrap(), None);
    }

    #[test]
    fn a_spec_and_a_request_that_differ_are_refused() {
        let error = ordered(r#""terminal": true"#, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the process says terminal = true, but the request says terminal = false: they must \
             agree"
        );
        assert!(ordered(r#""terminal": false"#, true).is_err());
    }
}
