//! The shim's log: the FIFO `log` of its bundle, which containerd copies into its own log.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use containerd_shim::logger::FifoLogger;
use rustix::fs::{Mode, OFlags};

/// Logs to the FIFO at `path`; `debug` is containerd's own level, and nothing else changes ours.
pub(crate) fn start(path: &Path, debug: bool) -> anyhow::Result<()> {
    // Read and write: a containerd that goes away breaks nothing, and comes back to the same
    // pipe. Without waiting: a missing reader must not stop a pod; what does not fit is dropped.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(path, flags, Mode::empty())
        .with_context(|| format!("cannot open the log {}", path.display()))?;
    log::set_boxed_logger(Box::new(FifoLogger::with_file(File::from(fifo))))?;
    log::set_max_level(if debug {
        log::LevelFilter::Debug
    } else {
        log::LevelFilter::Info
    });
    Ok(())
}

/// Logs warnings to stderr, for a command that people run.
pub(crate) fn to_stderr() {
    struct Stderr;
    impl log::Log for Stderr {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Warn
        }
        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                eprintln!("containerd-shim-wasm-v1: {}", record.args());
            }
        }
        fn flush(&self) {}
    }
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}
