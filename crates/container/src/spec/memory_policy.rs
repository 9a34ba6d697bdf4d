//! Where the memory of a container may come from: what of `linux.memoryPolicy` can't be.

use oci_spec::runtime::{MemoryPolicyFlagType, MemoryPolicyModeType};
use serde::Deserialize;

use super::words::is_word;

/// The highest number that a node may have, and as in a set of processors.
const LAST_NODE: u32 = 1023;

/// The policy, before its words are known ones.
#[derive(Deserialize)]
pub(super) struct Outline {
    mode: Option<String>,
    nodes: Option<String>,
    flags: Option<Vec<String>>,
}

/// What is wrong with it. In runc's words, which its callers read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No such mode.
    #[error("invalid memory policy mode {0:?} in linux.memoryPolicy")]
    Mode(String),
    /// No such flag.
    #[error("invalid memory policy flag {0:?} in linux.memoryPolicy")]
    Flag(String),
    /// They are no list of numbers.
    #[error("invalid memory policy nodes {nodes:?} in linux.memoryPolicy: {reason}")]
    Nodes {
        /// What stands there.
        nodes: String,
        /// Why it is none.
        reason: String,
    },
    /// It is all nodes that the mode means.
    #[error("invalid linux.memoryPolicy: its mode requires 0 nodes but got {0}")]
    SomeNodes(usize),
    /// It has to name some.
    #[error("invalid linux.memoryPolicy: its mode requires at least one node but got 0")]
    NoNodes,
}

impl Outline {
    /// Checks its words, and how many nodes it names.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mode = self.mode.as_deref().unwrap_or_default();
        if !is_word::<MemoryPolicyModeType>(mode) {
            return Err(Error::Mode(mode.to_owned()));
        }
        let nodes = count(self.nodes.as_deref().unwrap_or_default())?;
        let mut flags = self.flags.iter().flatten();
        if let Some(flag) = flags.find(|flag| !is_word::<MemoryPolicyFlagType>(flag)) {
            return Err(Error::Flag(flag.clone()));
        }
        match (mode, nodes) {
            ("MPOL_DEFAULT" | "MPOL_LOCAL", 1..) => Err(Error::SomeNodes(nodes)),
            ("MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_WEIGHTED_INTERLEAVE", 0) => {
                Err(Error::NoNodes)
            }
            _ => Ok(()),
        }
    }
}

/// How many nodes a list names: numbers and ranges, with commas in between.
fn count(list: &str) -> Result<usize, Error> {
    let invalid = |reason: String| Error::Nodes {
        nodes: list.to_owned(),
        reason,
    };
    let number = |text: &str| match text.trim().parse::<u32>() {
        Ok(number) if number <= LAST_NODE => Ok(number),
        Ok(number) => Err(invalid(format!("{number} is above {LAST_NODE}"))),
        Err(error) => Err(invalid(format!("{text:?}: {error}"))),
    };
    let mut named = vec![false; LAST_NODE as usize + 1];
    let parts = list.split(',').filter(|part| !part.trim().is_empty());
    for part in parts {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(invalid(format!("{first} is above {last}")));
        }
        named[first as usize..=last as usize].fill(true);
    }
    Ok(named.into_iter().filter(|named| *named).count())
}

#[cfg(test)]
mod tests {
    use super::Outline;

    fn told(policy: &str) -> String {
        let outline: Outline = serde_json::from_str(policy).unwrap();
        outline
            .check()
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_policy_that_cannot_be_is_told_in_runcs_words() {
        for (policy, words) in [
            (r"{}", "invalid memory policy mode \"\""),
            (
                r#"{"mode":"BIND","nodes":"0"}"#,
                "invalid memory policy mode \"BIND\"",
            ),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","x"]}"#,
                "invalid memory policy flag \"x\"",
            ),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0-9876543210"}"#,
                "invalid memory policy nodes \"0-9876543210\"",
            ),
            (
                r#"{"mode":"MPOL_BIND","nodes":"3-1"}"#,
                "invalid memory policy nodes \"3-1\"",
            ),
            (
                r#"{"mode":"MPOL_DEFAULT","nodes":"0-7"}"#,
                "invalid linux.memoryPolicy: its mode requires 0 nodes but got 8",
            ),
            (
                r#"{"mode":"MPOL_BIND"}"#,
                "invalid linux.memoryPolicy: its mode requires at least one node but got 0",
            ),
        ] {
            assert!(
                told(policy).starts_with(words),
                "{policy}: {}",
                told(policy)
            );
        }
        for policy in [
            r#"{"mode":"MPOL_DEFAULT"}"#,
            r#"{"mode":"MPOL_PREFERRED"}"#,
            r#"{"mode":"MPOL_BIND","nodes":"0, 2-3,2","flags":["MPOL_F_RELATIVE_NODES"]}"#,
        ] {
            assert_eq!(told(policy), "", "{policy}");
        }
    }
}
