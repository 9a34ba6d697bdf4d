//! A node: its root, its distribution, and what an earlier install has noted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::args::Settings;
use crate::cri::Peer;
use crate::distribution::{Distribution, Style};
use crate::effective::Effective;
use crate::error::Error;
use crate::names::{self, SEARCHED};
use crate::record::{Record, What};
use crate::root::Root;
use crate::run::Runner;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) root: Root,
    pub(crate) settings: Settings,
    pub(crate) distribution: Distribution,
    pub(crate) style: Style,
    pub(crate) runner: Runner,
    pub(crate) record: Option<Record>,
    /// Where the program is, or goes.
    pub(crate) bin_dir: PathBuf,
    /// Held until the end, so that no other run changes this node meanwhile.
    _lock: Option<OwnedFd>,
}

impl Node {
    /// Looks at a node; `locked` if it may be changed.
    pub(crate) fn open(settings: Settings, locked: bool) -> Result<Self, Error> {
        let root = Root::open(&settings.root)?;
        let lock = locked.then(|| root.lock()).transpose()?;
        let record = Record::read(&root, &settings.state)?;
        let noted = record.as_ref();
        let distribution = match (settings.distribution, noted, &settings.config) {
            (Some(named), ..) => named,
            (None, Some(record), _) => record.distribution,
            // On every kind of node this file is containerd's.
            (None, None, Some(_)) => Distribution::Containerd,
            (None, None, None) => Distribution::find(&root)?,
        };
        let config = settings
            .config
            .clone()
            .or_else(|| noted.and_then(|record| record.config.clone()));
        let style = match (config, distribution) {
            (Some(file), Distribution::Docker) => Style::Docker { file },
            (Some(main), _) => Style::Toml { main },
            (None, _) => distribution.style(&root),
        };
        let installed = noted.and_then(|record| {
            let mut programs = record
                .files
                .iter()
                .filter(|file| file.what == What::Program);
            let path = programs.find(|file| file.path.ends_with(names::SHIM))?;
            path.path.parent().map(Path::to_owned)
        });
        let bin_dir = settings.bin_dir.clone().or(installed);
        let bin_dir = bin_dir.unwrap_or_else(|| distribution.bin_dir(&root));
        let runner = Runner::of(&root, settings.nsenter)?;
        Ok(Self {
            root,
            settings,
            distribution,
            style,
            runner,
            record,
            bin_dir,
            _lock: lock,
        })
    }

    /// The shim.
    pub(crate) fn shim(&self) -> PathBuf {
        self.bin_dir.join(names::SHIM)
    }

    /// Whether containerd looks for shims where ours is.
    pub(crate) fn is_searched(&self) -> bool {
        SEARCHED.iter().any(|dir| self.bin_dir == Path::new(dir))
    }

    /// The file that containerd reads, if it is one.
    pub(crate) fn main(&self) -> Option<PathBuf> {
        match &self.style {
            Style::Toml { main } | Style::DropIn { main, .. } => Some(main.clone()),
            Style::Templates { dir } => Some(dir.join("config.toml")),
            Style::Docker { .. } => None,
        }
    }

    /// Who is to be asked whether it is up.
    pub(crate) fn peer(&self, effective: Option<&Effective>) -> Peer {
        let noted = self
            .record
            .as_ref()
            .and_then(|record| record.address.clone());
        let socket = self.settings.address.clone().or(noted);
        let said = effective.and_then(Effective::address);
        let socket = socket.or(said.filter(|_| matches!(self.style, Style::Toml { .. })));
        let socket = socket.unwrap_or_else(|| self.distribution.socket().into());
        match self.style {
            Style::Docker { .. } => Peer::Docker(socket),
            _ if effective.is_some_and(Effective::has_no_cri) => Peer::Containerd(socket),
            _ => Peer::Cri(socket),
        }
    }

    /// The program that reads the configuration, if there is one and it can be run.
    pub(crate) fn containerd(&self) -> Option<PathBuf> {
        if self.runner == Runner::Nowhere {
            return None;
        }
        if let Some(named) = &self.settings.containerd {
            return Some(named.clone());
        }
        let known = self.distribution.containerds().iter();
        let mut found = known.filter(|path| self.root.exists(path));
        found.next().map(PathBuf::from)
    }

    /// containerd's version, if it tells.
    pub(crate) fn version(&self) -> Option<(u32, u32)> {
        if matches!(self.style, Style::Docker { .. }) {
            return None;
        }
        let said = self.runner.run(self.containerd()?, &["--version"], None);
        version_of(&String::from_utf8_lossy(&said.ok()??))
    }
}

/// The version in `containerd github.com/containerd/containerd v2.1.0 …`.
fn version_of(said: &str) -> Option<(u32, u32)> {
    let word = said.split_whitespace().nth(2)?;
    let mut numbers = word.strip_prefix('v').unwrap_or(word).split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn containerds_version_is_read_as_distributions_write_it() {
        let said = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1";
        assert_eq!(version_of(said), Some((1, 6)));
        let said =
            "containerd github.com/k3s-io/containerd v2.1.5-k3s1 fcd43222d6b07379a4be9786bda";
        assert_eq!(version_of(said), Some((2, 1)));
        assert_eq!(version_of("no"), None);
    }
}
