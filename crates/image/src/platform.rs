//! Platforms of images, as containerd's `platforms` package orders them.

use std::fmt;

use serde::Deserialize;

/// What a manifest is for, as in the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

/// Operating systems of Wasm, in the order of preference.
const WASI: [&str; 4] = ["wasip2", "wasip1", "wasi", "js"];

impl Platform {
    /// This node's.
    pub(crate) fn of_node() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: node_architectures()[0].to_owned(),
            variant: None,
        }
    }

    /// Where it stands among others: the lower, the better; `None` if it is for other machines.
    pub(crate) fn rank(&self) -> Option<usize> {
        let node = node_architectures();
        if self.os == "linux" {
            return node.iter().position(|known| *known == self.architecture);
        }
        if self.is_wasm() {
            let known = WASI.iter().position(|known| *known == self.os);
            return Some(node.len() + known.unwrap_or(WASI.len()));
        }
        None
    }

    pub(crate) fn is_wasm(&self) -> bool {
        matches!(self.architecture.as_str(), "wasm" | "wasm32")
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

/// This machine's architecture, and those whose programs it runs too.
fn node_architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["amd64", "386"],
        "aarch64" => &["arm64", "arm"],
        other => match other {
            "powerpc64" => &["ppc64le"],
            "riscv64" => &["riscv64"],
            "s390x" => &["s390x"],
            _ => &["unknown"],
        },
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    fn platform(text: &str) -> Platform {
        let (os, architecture) = text.split_once('/').unwrap();
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// No other ever does.
    #[test]
    fn the_nodes_own_platform_comes_first_then_wasm() {
        let node = Platform::of_node();
        assert_eq!(node.rank(), Some(0));
        let ranks: Vec<_> = [
            "wasip2/wasm",
            "wasip1/wasm",
            "wasi/wasm",
            "wasi/wasm32",
            "new/wasm",
        ]
        .map(|text| platform(text).rank())
        .to_vec();
        assert!(ranks.iter().all(|rank| *rank > node.rank()), "{ranks:?}");
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(platform("windows/amd64").rank(), None);
        assert_eq!(platform("linux/mips").rank(), None);
    }

    #[test]
    fn a_platform_is_shown_as_it_is_asked_for() {
        assert_eq!(platform("wasi/wasm").to_string(), "wasi/wasm");
        let arm = Platform {
            variant: Some("v8".to_owned()),
            ..platform("linux/arm64")
        };
        assert_eq!(arm.to_string(), "linux/arm64/v8");
    }
}
