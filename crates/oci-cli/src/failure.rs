//! How a command failed.

use std::fmt;

/// What callers of runc look for beside what we say.
const WORDS: [(&str, &str); 4] = [
    (
        "it must be a directory, or not there, for the container's own to be put there",
        "filesystem must be mounted on ordinary directory",
    ),
    (
        "cannot set the flags of the mount",
        "unable to start container process: error during container init: error mounting",
    ),
    (
        "cannot reach the agent of linux.seccomp.listenerPath",
        "failed to connect with seccomp agent",
    ),
    ("names a file of cgroup v2", "invalid configuration"),
];

/// Why a command failed, in the words that callers of runc look for, and the exit code that they expect.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    pub(crate) code: u8,
}

impl Failure {
    /// With exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: as_go_says(&text.into()),
            code: 1,
        }
    }

    /// Of an error, with its causes.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self::new(medley_types::sentence(error))
    }

    /// What was being done, for an error of the system.
    pub(crate) fn when(what: impl Into<String>) -> impl Fn(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::new(format!("cannot {what}: {error}"))
    }

    /// The same with what was asked for before it.
    pub(crate) fn within(self, what: &str) -> Self {
        Self {
            text: format!("{what}: {}", self.text),
            ..self
        }
    }

    /// The same with the command that failed before it.
    pub(crate) fn within_command(self, command: &str) -> Self {
        self.within(&format!("{} {command} failed", crate::name()))
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

/// `text` with the kernel's reasons as a program in Go words them, which callers of runc look for.
fn as_go_says(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut said = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(NUMBER) {
        let (_, after) = after.split_once(')').unwrap_or((after, ""));
        let reason = before.rfind(": ").map_or(0, |colon| colon + ": ".len());
        let (before, reason) = before.split_at(reason);
        let mut letters = reason.chars();
        said.push_str(before);
        said.extend(letters.next().into_iter().flat_map(char::to_lowercase));
        said.push_str(letters.as_str());
        rest = after;
    }
    said.push_str(rest);
    let said = said.replacen("cannot execute ", "exec ", 1);
    let known = WORDS.iter().find(|(ours, _)| said.contains(ours));
    known.map_or(said.clone(), |(_, theirs)| format!("{theirs}: {said}"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<medley_container::shim::Error> for Failure {
    fn from(error: medley_container::shim::Error) -> Self {
        Self::of(&error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::of(&std::io::Error::from(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn the_kernels_reasons_are_worded_as_runc_does() {
        for (text, said) in [
            (
                "cannot execute /a: No such file or directory (os error 2)",
                "exec /a: no such file or directory",
            ),
            (
                "cannot make A: Permission denied (os error 13): B: Is a directory (os error 21), so",
                "cannot make A: permission denied: B: is a directory, so",
            ),
            ("Nothing of it", "Nothing of it"),
        ] {
            assert_eq!(Failure::new(text).to_string(), said);
        }
    }
}
