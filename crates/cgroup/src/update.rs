//! A container's limits, changed while it runs.
//!
//! What an update names is checked against what holds now, and only then written, file by file.
//! If the kernel refuses one, those before it get back what was in them, in reverse order. As
//! other runtimes have it, a number that is 0 names nothing and -1 is no limit.

mod disks;
mod enable;
mod systemd;
mod v1;
mod v2;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources};

use super::{Cgroup, MOUNT, metrics};

/// The kernel's period of processor time, in microseconds, where none is named.
pub(super) const CPU_PERIOD: u64 = 100_000;

/// Why a container's limits could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It is not JSON, or not of this kind.
    #[error("the resources are not the OCI runtime spec's `linux.resources` as JSON")]
    NotResources(#[source] serde_json::Error),
    /// A number that the kernel never takes.
    #[error("{name} is {value}, which is not {expected}")]
    OutOfRange {
        /// As of the spec.
        name: &'static str,
        /// What was asked for.
        value: i64,
        /// What there may be.
        expected: &'static str,
    },
    /// Swap counts with memory: it can't have the lower limit.
    #[error(
        "the limit of memory and swap together, {swap} bytes, is lower than that of memory, \
         {memory} bytes"
    )]
    SwapBelowMemory {
        /// The limit of memory: as asked for, or as it is.
        memory: i64,
        /// The limit of both, likewise.
        swap: i64,
    },
    /// Which part of it were swap is not known.
    #[error("a limit of memory and swap together, {swap} bytes, needs a limit of memory")]
    SwapWithoutMemory {
        /// What was asked for.
        swap: i64,
    },
    /// The kernel would have to kill.
    #[error("the memory limit, {limit} bytes, is lower than what is in use, {usage} bytes")]
    BelowUsage {
        /// What was asked for.
        limit: i64,
        /// What is in use now and can't be reclaimed.
        usage: u64,
    },
    /// Not a name of one file.
    #[error("{key:?} is not the name of a cgroup's file, like \"memory.high\"")]
    Key {
        /// As of the spec's `unified`.
        key: String,
    },
    /// `unified` is for cgroup v2.
    #[error("{key:?} names a file of cgroup v2, and this node has cgroup v1")]
    NotUnified {
        /// As of the spec's `unified`.
        key: String,
    },
    /// The container has no such controller of its own, or the kernel no such file.
    #[error("{name} can't be limited: the container's cgroup has no file {file}")]
    Missing {
        /// As of the spec.
        name: String,
        /// The file.
        file: String,
    },
    /// The cgroup has no such controller, and can't be given it.
    #[error(
        "{name} can't be limited: the controller {controller} is not enabled for the container's \
         cgroup, nor can it be in {}",
        folder.display()
    )]
    NotEnabled {
        /// As of the spec.
        name: String,
        /// The kernel's name for it.
        controller: String,
        /// The cgroup above, for whose children it is to be enabled.
        folder: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// cgroup v1 had it.
    #[error("{name} is a limit of cgroup v1, and this node has cgroup v2, which has none such")]
    NotOnV2 {
        /// As of the spec.
        name: &'static str,
    },
    /// What holds now could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The cgroup is systemd's, which would undo what it does not know of.
    #[error("systemd does not take {properties:?} for {unit}: {reason}")]
    Systemd {
        /// Its name for the cgroup.
        unit: String,
        /// What it was to have.
        properties: Vec<String>,
        /// What it says.
        reason: String,
    },
    /// The kernel refused.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be in it.
        value: String,
        /// The system's word.
        source: io::Error,
    },
}

impl UpdateError {
    /// Whether the request makes no sense, whatever the container's state.
    #[must_use]
    pub fn is_senseless(&self) -> bool {
        matches!(
            self,
            Self::NotResources(_) | Self::OutOfRange { .. } | Self::Key { .. }
        )
    }

    /// Whether it makes sense, but not for what this container, or this node, is now.
    #[must_use]
    pub fn is_untimely(&self) -> bool {
        matches!(
            self,
            Self::SwapBelowMemory { .. }
                | Self::SwapWithoutMemory { .. }
                | Self::BelowUsage { .. }
                | Self::NotUnified { .. }
                | Self::NotOnV2 { .. }
                | Self::NotEnabled { .. }
                | Self::Missing { .. }
        )
    }
}

/// One file's new content.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    /// What of the spec it is for.
    name: String,
    path: PathBuf,
    value: String,
    /// What undoes it, where that is not what the file had before.
    undo: Option<String>,
}

impl Write {
    fn new(name: &str, folder: Option<&Path>, file: &str, value: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            // Without a folder there is no such file, which `apply` finds.
            path: folder.unwrap_or(Path::new("")).join(file),
            value: value.to_string(),
            undo: None,
        }
    }
}

impl Cgroup {
    /// Sets limits as `resources` has them, the OCI runtime spec's `linux.resources` as JSON.
    /// Devices and the rest that can't change while a container runs are passed over.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub fn update(&self, resources: &[u8]) -> Result<(), UpdateError> {
        let resources: LinuxResources =
            serde_json::from_slice(resources).map_err(UpdateError::NotResources)?;
        if !self.unified && resources.network().is_some() {
            log::warn!(
                "network is passed over: it is set when a container is made, and then stays"
            );
        }
        self.limit_beyond(&LinuxResources::default(), &resources)
    }

    /// As [`Self::update`], where systemd has been told of what `told` has.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub(super) fn limit_beyond(
        &self,
        told: &LinuxResources,
        resources: &LinuxResources,
    ) -> Result<(), UpdateError> {
        check(resources)?;
        warn_of_kernel_memory(resources);
        let writes = self.plan(resources)?;
        let unit = self.systemd_unit();
        let told = match unit {
            Some(_) => self.plan(told)?,
            None => Vec::new(),
        };
        let done = apply(&writes)?;
        if let Some(unit) = unit
            && let Err(error) = systemd::tell(unit, &writes, &told)
        {
            restore(&done);
            return Err(error);
        }
        Ok(())
    }

    fn plan(&self, resources: &LinuxResources) -> Result<Vec<Write>, UpdateError> {
        if !self.unified {
            return v1::plan(&|controller| self.folder_with(controller), resources);
        }
        let folder = self.folders.first().map(|folder| folder.path.as_path());
        let folder = folder.unwrap_or(Path::new(MOUNT));
        enable::controllers(Path::new(MOUNT), folder, resources)?;
        v2::plan(folder, resources)
    }

    /// systemd's name for it, if systemd made it.
    fn systemd_unit(&self) -> Option<&str> {
        let path = &self.folders.first().filter(|_| self.unified)?.path;
        let ends = |path: &Path, with| path.extension().is_some_and(|end| end == with);
        let is_units = ends(path, "scope") && ends(path.parent()?, "slice");
        path.file_name()?.to_str().filter(|_| is_units)
    }
}

/// The lines of `rdma.max` that a spec asks for, with the device of each.
fn rdma(resources: &LinuxResources) -> Vec<(&str, String)> {
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
fn named<T: Default + PartialEq>(number: Option<T>) -> Option<T> {
    number.filter(|number| *number != T::default())
}

/// A name that is there and not empty.
fn text(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

/// Says that limits of the kernel's memory are passed over, as other runtimes do: the kernel takes none.
#[allow(deprecated, reason = "it is asked for so that it can be told")]
fn warn_of_kernel_memory(resources: &LinuxResources) {
    if let Some(memory) = resources.memory()
        && (named(memory.kernel()).is_some() || named(memory.kernel_tcp()).is_some())
    {
        log::warn!("memory.kernel and memory.kernelTCP are passed over: the kernel takes neither");
    }
}

/// Refuses what makes no sense, wherever the container is.
///
/// # Errors
/// [`UpdateError::OutOfRange`] or [`UpdateError::SwapBelowMemory`].
pub(super) fn check(resources: &LinuxResources) -> Result<(), UpdateError> {
    let mut sizes = resources.hugepage_limits().iter().flatten();
    if let Some(page) = sizes.find(|page| page.page_size().contains('/')) {
        let key = page.page_size().clone();
        return Err(UpdateError::Key { key });
    }
    resources.cpu().as_ref().map_or(Ok(()), check_cpu)?;
    resources.memory().as_ref().map_or(Ok(()), check_memory)
}

fn check_cpu(cpu: &LinuxCpu) -> Result<(), UpdateError> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let Some(period) = named(cpu.period())
        && !(1_000..=1_000_000).contains(&period)
    {
        return Err(UpdateError::OutOfRange {
            name: "cpu.period",
            value: signed(period),
            expected: "between 1000 and 1000000 microseconds",
        });
    }
    if let Some(quota) = named(cpu.quota())
        && (1..1_000).contains(&quota)
    {
        return Err(UpdateError::OutOfRange {
            name: "cpu.quota",
            value: quota,
            expected: "1000 microseconds or more, nor -1 for no limit",
        });
    }
    Ok(())
}

fn check_memory(memory: &LinuxMemory) -> Result<(), UpdateError> {
    for (name, value) in [
        ("memory.limit", memory.limit()),
        ("memory.reservation", memory.reservation()),
        ("memory.swap", memory.swap()),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            return Err(UpdateError::OutOfRange {
                name,
                value,
                expected: "a number of bytes, nor -1 for no limit",
            });
        }
    }
    if let Some(swappiness) = memory.swappiness().filter(|number| *number > 100) {
        return Err(UpdateError::OutOfRange {
            name: "memory.swappiness",
            value: i64::try_from(swappiness).unwrap_or(i64::MAX),
            expected: "between 0 and 100",
        });
    }
    match (named(memory.limit()), named(memory.swap())) {
        (Some(memory), Some(swap)) if swap > 0 && memory > swap => {
            Err(UpdateError::SwapBelowMemory { memory, swap })
        }
        _ => Ok(()),
    }
}

/// Refuses a memory limit that only kills could enforce. Pages of files can be given back.
fn check_usage(limit: i64, usage: u64, files: u64) -> Result<(), UpdateError> {
    let usage = usage.saturating_sub(files);
    match u64::try_from(limit) {
        Ok(bytes) if bytes < usage => Err(UpdateError::BelowUsage { limit, usage }),
        _ => Ok(()),
    }
}

fn number(folder: &Path, file: &str) -> Result<u64, UpdateError> {
    metrics::number(folder, file).map_err(unreadable)
}

fn line(folder: &Path, file: &str, name: &str) -> Result<u64, UpdateError> {
    let lines = metrics::lines(folder, file).map_err(unreadable)?;
    Ok(lines.get(name).copied().unwrap_or_default())
}

fn unreadable(error: super::Error) -> UpdateError {
    let (path, source) = match error {
        super::Error::Read { path, source } => (path, source),
        error => (PathBuf::new(), io::Error::other(error)),
    };
    UpdateError::Read { path, source }
}

/// Writes all, or nothing. Gives what was there before.
fn apply(writes: &[Write]) -> Result<Vec<(&Write, String)>, UpdateError> {
    if let Some(missing) = writes.iter().find(|write| !write.path.is_file()) {
        let file = missing.path.file_name().unwrap_or_default();
        return Err(UpdateError::Missing {
            name: missing.name.clone(),
            file: file.to_string_lossy().into_owned(),
        });
    }
    let mut done: Vec<(&Write, String)> = Vec::new();
    for write in writes {
        // Read right before, not all of them at the start: a file may be written twice.
        let written = fs::read_to_string(&write.path)
            .map_err(|source| UpdateError::Read {
                path: write.path.clone(),
                source,
            })
            .and_then(|before| {
                put(&write.path, &write.value).map_err(|source| refused(write, source))?;
                Ok(before)
            });
        match written {
            Ok(before) => done.push((write, before)),
            Err(error) => {
                restore(&done);
                return Err(error);
            }
        }
    }
    Ok(done)
}

fn refused(write: &Write, source: io::Error) -> UpdateError {
    let is_busy = source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
    let usage = write.path.with_file_name("memory.usage_in_bytes");
    if is_busy
        && let Ok(limit) = write.value.parse()
        && let Ok(usage) = fs::read_to_string(usage)
        && let Ok(usage) = usage.trim().parse()
    {
        return UpdateError::BelowUsage { limit, usage };
    }
    UpdateError::Write {
        path: write.path.clone(),
        value: write.value.clone(),
        source,
    }
}

fn restore(done: &[(&Write, String)]) {
    for (write, before) in done.iter().rev() {
        // A file with a line for each device takes one at a time; an empty one takes no nothing.
        let lines = match &write.undo {
            Some(undo) => vec![undo.as_str()],
            None if before.is_empty() => vec!["\n"],
            None => before.lines().collect(),
        };
        for line in lines {
            let path = &write.path;
            if let Err(error) = put(path, line) {
                log::warn!("cannot write {line:?} back to {}: {error}", path.display());
            }
        }
    }
}

/// Never makes the file, which in a cgroup is there or can't be.
fn put(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?;
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests;
