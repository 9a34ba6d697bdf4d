//! Faults of which libcontainer does not say which hook, sysctl or mount it means: the spec is asked.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use medley_types::quoted::{Quoted, first_of};
use oci_spec::runtime::Spec;

use super::fault::{Fault, Step};

/// `fault`, with what `spec` tells about it.
pub(in super::super) fn named(fault: Fault, spec: &Spec) -> Fault {
    match fault.step {
        Step::Hook => hook(fault, spec),
        Step::UnknownSysctl => sysctl(fault, spec),
        Step::Bind => bind(fault, spec),
        Step::WorkingDir | Step::Other => fault,
    }
}

/// Names the source as the spec does: where init began in a copy of the empty mount namespace,
/// libcontainer was given another path for it.
fn bind(mut fault: Fault, spec: &Spec) -> Fault {
    // Of several at one place the last one hides the others.
    let mut mounts = spec.mounts().iter().flatten().rev();
    let told = mounts.find_map(|mount| {
        let at = format!(" at {}", Quoted::path(mount.destination()));
        let source = mount.source().as_ref()?;
        let is_it = fault.what.starts_with("cannot mount \"") && fault.what.ends_with(&at);
        is_it.then(|| format!("cannot mount {}{at}", Quoted::path(source)))
    });
    if let Some(told) = told {
        fault.what = told;
    }
    fault
}

fn hook(mut fault: Fault, spec: &Spec) -> Fault {
    const KIND: &str = "createContainer";
    let hooks = spec.hooks().as_ref();
    let hooks = hooks.and_then(|hooks| hooks.create_container().as_deref());
    let hooks = hooks.unwrap_or_default();
    // A hook that is no program is the one that failed. If all are programs, it may be any of them.
    let unfit = hooks
        .iter()
        .find_map(|hook| Some((hook, unfit(hook.path())?)));
    let name = match (unfit, hooks) {
        (Some((hook, error)), _) => {
            let path = Quoted::path(hook.path());
            fault.what = format!("the {KIND} hook {path} cannot be run: {error}");
            fault.cause = None;
            return fault;
        }
        (None, [hook]) => format!("the {KIND} hook {}", Quoted::path(hook.path())),
        (None, hooks) => {
            let paths: Vec<_> = hooks.iter().map(|hook| Quoted::path(hook.path())).collect();
            format!("one of the {KIND} hooks {}", first_of(&paths))
        }
    };
    fault.what = fault.what.replacen(&format!("a {KIND} hook"), &name, 1);
    fault
}

/// Why the file at `path` is no program, if it is none.
fn unfit(path: &Path) -> Option<io::Error> {
    match fs::metadata(path) {
        Err(error) => Some(error),
        Ok(file) if file.is_dir() => Some(io::ErrorKind::IsADirectory.into()),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            Some(io::ErrorKind::PermissionDenied.into())
        }
        Ok(_) => None,
    }
}

fn sysctl(mut fault: Fault, spec: &Spec) -> Fault {
    let linux = spec.linux().as_ref();
    let sysctls = linux.and_then(|linux| linux.sysctl().as_ref());
    let is_there = |name: &str| {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        // Some can be written and not read, so they are not opened.
        fs::symlink_metadata(path).is_ok_and(|file| file.is_file())
    };
    let mut names: Vec<_> = sysctls
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    names.sort();
    // A namespace may lack sysctls that the node has: if the node has all, it may be any of them.
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    let missing = if missing.is_empty() {
        names.iter().collect()
    } else {
        missing
    };
    let missing: Vec<_> = missing.iter().map(|name| Quoted::text(name)).collect();
    fault.what = format!(
        "linux.sysctl of the container's spec has {}, which this node's kernel has not",
        first_of(&missing)
    );
    fault
}

#[cfg(test)]
mod tests {
    use super::super::fault;
    use super::named;
    use oci_spec::runtime::Spec;

    fn told(spec: &str, line: &str) -> String {
        let spec: Spec = serde_json::from_str(spec).unwrap();
        let fault = fault("", &format!("it broke\nERROR {line}\n")).unwrap();
        named(fault, &spec).to_string()
    }

    #[test]
    fn a_hook_that_cannot_be_run_is_named() {
        let spec = |paths: &str| {
            format!(r#"{{"ociVersion": "1.0.2", "hooks": {{"createContainer": [{paths}]}}}}"#)
        };
        let line = "failed to run create container hooks: failed to execute hook command";
        let text = told(&spec(r#"{"path": "/bin/true"}, {"path": "/nope"}"#), line);
        assert_eq!(
            text,
            "the createContainer hook \"/nope\" cannot be run: No such file or directory (os error 2)"
        );
        let text = told(&spec(r#"{"path": "/etc"}"#), line);
        assert!(
            text.starts_with("the createContainer hook \"/etc\" cannot be run: "),
            "{text}"
        );
        let line =
            "failed to run create container hooks: hook command exited with non-zero exit code: 3";
        let text = told(&spec(r#"{"path": "/bin/false"}"#), line);
        assert_eq!(
            text,
            "the createContainer hook \"/bin/false\" ended with exit code 3, saying \"it broke\""
        );
        let text = told(
            &spec(r#"{"path": "/bin/true"}, {"path": "/bin/false"}"#),
            line,
        );
        assert!(
            text.starts_with(
                "one of the createContainer hooks \"/bin/true\", \"/bin/false\" ended with"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_source_is_told_as_the_spec_has_it() {
        let spec = r#"{"ociVersion": "1.0.2", "mounts": [
            {"destination": "/other", "source": "/no"},
            {"destination": "/mnt", "source": "/etc/passwd"}]}"#;
        let line = "failed to mount Mount { destination: \"/mnt\", typ: Some(\"bind\"), source: \
            Some(\"/sources/0\"), options: None } err=Nix(ENOTDIR)";
        let text = told(spec, line);
        assert!(
            text.starts_with("cannot mount \"/etc/passwd\" at \"/mnt\": Not a directory"),
            "{text}"
        );
    }

    #[test]
    fn a_sysctl_that_the_kernel_lacks_is_named() {
        let spec = r#"{"ociVersion": "1.0.2", "linux": {"sysctl":
            {"net.frob.x": "1", "kernel.hostname": "a"}}}"#;
        let line = "failed to initialize container process: open subpath in procfs failed";
        assert_eq!(
            told(spec, line),
            "linux.sysctl of the container's spec has \"net.frob.x\", which this node's kernel has not"
        );
    }
}
