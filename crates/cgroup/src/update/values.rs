//! What an update names, and what a cgroup's files have now.

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxRdma, LinuxResources};

use super::error::UpdateError;
use crate::error::Error;
use crate::files;

/// The kernel's period of processor time, in microseconds, where none is named.
pub(crate) const CPU_PERIOD: u64 = 100_000;

/// The lines of `rdma.max` that a spec asks for, with the device of each.
pub(super) fn rdma(resources: &LinuxResources) -> Vec<(&str, String)> {
    let line = |(device, limits): (&'_ String, &LinuxRdma)| {
        let mut line = device.clone();
        for (name, number) in [
            ("hca_handle", limits.hca_handles()),
            ("hca_object", limits.hca_objects()),
        ] {
            if let Some(number) = number {
                line.push_str(&format!(" {name}={number}"));
            }
        }
        line
    };
    let devices = resources.rdma().iter().flatten();
    let mut lines: Vec<_> = devices.map(|it| (it.0.as_str(), line(it))).collect();
    lines.sort();
    lines
}

/// A number that is there and not 0.
pub(super) fn named<T: Default + PartialEq>(number: Option<T>) -> Option<T> {
    number.filter(|number| *number != T::default())
}

/// A name that is there and not empty.
pub(super) fn text(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

pub(super) fn number(dir: &Path, file: &str) -> Result<u64, UpdateError> {
    files::number(dir, file).map_err(unreadable)
}

pub(super) fn line(dir: &Path, file: &str, name: &str) -> Result<u64, UpdateError> {
    let counters = files::counters(dir, file).map_err(unreadable)?;
    Ok(counters.get(name).copied().unwrap_or_default())
}

fn unreadable(error: Error) -> UpdateError {
    let (path, source) = match error {
        Error::Read { path, source } => (path, source),
        error => (PathBuf::new(), io::Error::other(error)),
    };
    UpdateError::Read { path, source }
}
