//! A timeline of what the processes of a container do, for people who look for time: each writes
//! spans into a file of its own, in Chrome's trace format, by one clock, CLOCK_MONOTONIC.
//!
//! The dir is named by [`VARIABLE`] in containerd's environment, which is root's. A file is made anew
//! there and never behind a link, before anything of a container is touched; a container's process has
//! no more of it than a descriptor that goes with its exec, or with [`end`] before a guest runs. Where
//! nothing is asked for, a span is one look at a number.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

/// The variable that names the dir.
pub const VARIABLE: &str = "MEDLEY_TRACE";

/// No file.
const OFF: i32 = -1;

/// The descriptor of this process's file.
static FILE: AtomicI32 = AtomicI32::new(OFF);

/// The process that opened it, under which its clones are shown.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Which clone of that process this is. A clone may have another number in its pid namespace.
static CLONE: AtomicU32 = AtomicU32::new(1);

/// The longest line, with a name in it.
const LINE: usize = 256;

/// From here on spans of this process are written, if that was asked for. `process` is what it is.
///
/// # Errors
/// Those of making the file. Nothing is written then.
pub fn begin(process: &str) -> std::io::Result<()> {
    match std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty()) {
        Some(dir) => open(Path::new(&dir), process),
        None => Ok(()),
    }
}

fn open(dir: &Path, process: &str) -> std::io::Result<()> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let path = dir.join(format!("{process}-{pid}-{}.json", now()));
    let flags = OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    // A high number: a process may be started with descriptors whose low numbers have a meaning.
    let file = rustix::io::fcntl_dupfd_cloexec(&file, 100)?;
    PROCESS.store(pid, Ordering::Relaxed);
    FILE.store(file.into_raw_fd(), Ordering::Relaxed);
    put("[");
    name(process);
    Ok(())
}

/// The environment that has a process started by this one write too, if this one does.
pub fn environment() -> Option<(&'static str, OsString)> {
    is_on().then(|| std::env::var_os(VARIABLE).map(|dir| (VARIABLE, dir)))?
}

/// Of a process that is a clone of another: it is something of its own in the timeline.
pub fn cloned(process: &str) {
    if is_on() {
        // No two are made at the same moment by one process.
        let number = u32::try_from((now() / 1000) & 0x7fff_ffff).unwrap_or_default();
        CLONE.store(number, Ordering::Relaxed);
        name(process);
    }
}

/// The last of it: nothing of the trace is open in this process any more.
pub fn end() {
    let file = FILE.swap(OFF, Ordering::Relaxed);
    if file != OFF {
        // SAFETY: it was made by `open`, which gave its ownership to `FILE` alone.
        drop(unsafe { OwnedFd::from_raw_fd(file) });
    }
}

/// Descriptors from `first` to `last` are closed: nothing is written to what gets their numbers.
pub(crate) fn closed(first: u32, last: u32) {
    let file = FILE.load(Ordering::Relaxed);
    if u32::try_from(file).is_ok_and(|file| (first..=last).contains(&file)) {
        FILE.store(OFF, Ordering::Relaxed);
    }
}

fn is_on() -> bool {
    FILE.load(Ordering::Relaxed) != OFF
}

/// Something that takes time, until it is dropped.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub struct Span {
    name: &'static str,
    /// When it began, in nanoseconds; 0 if nothing is written.
    begin: u64,
}

/// Begins a span.
pub fn span(name: &'static str) -> Span {
    let begin = if is_on() { now() } else { 0 };
    Span { name, begin }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.begin == 0 {
            return;
        }
        let lasted = now().saturating_sub(self.begin);
        event(format_args!(
            "{{\"name\":\"{}\",\"ph\":\"X\",\"ts\":{}.{:03},\"dur\":{}.{:03},",
            self.name,
            self.begin / 1000,
            self.begin % 1000,
            lasted / 1000,
            lasted % 1000
        ));
    }
}

/// Writes down that something happens now.
pub fn mark(name: &'static str) {
    if is_on() {
        let now = now();
        event(format_args!(
            "{{\"name\":\"{name}\",\"ph\":\"i\",\"s\":\"t\",\"ts\":{}.{:03},",
            now / 1000,
            now % 1000
        ));
    }
}

/// Says what this process, or this clone of it, is.
fn name(process: &str) {
    event(format_args!(
        "{{\"name\":\"thread_name\",\"ph\":\"M\",\"args\":{{\"name\":\"{process}\"}},"
    ));
}

/// Writes the beginning of an event, and whose it is.
fn event(text: std::fmt::Arguments<'_>) {
    let mut line = Line::default();
    let whose = (
        PROCESS.load(Ordering::Relaxed),
        CLONE.load(Ordering::Relaxed),
    );
    let whole = line
        .write_fmt(text)
        .and_then(|()| writeln!(line, "\"pid\":{},\"tid\":{}}},", whose.0, whose.1));
    // One that is too long is none.
    if whole.is_ok() {
        put(line.text());
    }
}

/// One write a line: the lines of threads and clones are whole, one behind the other.
fn put(text: &str) {
    let file = FILE.load(Ordering::Relaxed);
    if file == OFF {
        return;
    }
    // SAFETY: it is open: what closes it takes it out of `FILE` before.
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    // A disk that is full costs a line.
    rustix::io::write(file, text.as_bytes()).ok();
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// A line that needs no heap: a clone may write one in which the heap is not to be touched.
struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE],
            length: 0,
        }
    }
}

impl Line {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let to = self.length + text.len();
        let Some(free) = self.bytes.get_mut(self.length..to) else {
            return Err(std::fmt::Error);
        };
        free.copy_from_slice(text.as_bytes());
        self.length = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, OFF, cloned, closed, end, environment, mark, open, span};
    use std::sync::atomic::Ordering;

    /// One test and not several, for a process has one file.
    #[test]
    fn spans_of_a_process_and_of_its_clones_are_lines_of_json() {
        assert!(environment().is_none());
        drop(span("nothing is written"));
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "shim").unwrap();
        drop(span("mount rootfs"));
        mark("init");
        cloned("init");
        let inner = span("x".repeat(300).leak());
        drop(inner);
        let file = FILE.load(Ordering::Relaxed);
        closed(0, u32::try_from(file).unwrap() - 1);
        assert_eq!(FILE.load(Ordering::Relaxed), file);
        end();
        assert_eq!(FILE.load(Ordering::Relaxed), OFF);
        mark("after the end");
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
        let json = format!("{}]", text.trim_end().trim_end_matches(','));
        let events: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names: Vec<_> = events.as_array().unwrap().iter().collect();
        let field = |at: usize, field: &str| names[at][field].clone();
        assert_eq!(names.len(), 4, "{text}");
        assert_eq!(field(0, "args")["name"], "shim");
        assert_eq!(
            (field(1, "name"), field(1, "ph")),
            ("mount rootfs".into(), "X".into())
        );
        assert!(field(2, "ts").as_f64() >= field(1, "ts").as_f64());
        assert_eq!((field(1, "tid"), field(2, "tid")), (1.into(), 1.into()));
        assert_ne!(field(3, "tid"), 1);
    }
}
