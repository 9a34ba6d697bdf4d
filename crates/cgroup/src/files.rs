//! A cgroup's files: numbers, and counters with a name in each line.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use medley_sys::kernel_file;

use crate::error::Error;

/// A limit of cgroup v1 from here on means that there is none: the kernel rounds `i64::MAX` down to
/// pages.
pub(crate) const V1_UNLIMITED: u64 = 1 << 62;

/// A file's text; empty if there is no such file.
pub(crate) fn text(dir: &Path, file: &str) -> Result<String, Error> {
    let path = dir.join(file);
    match kernel_file::read(&path) {
        Ok(text) => Ok(text),
        // Not every kernel has every file, and the root of a hierarchy has few.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// A file with one number, or `max`.
pub(crate) fn number(dir: &Path, file: &str) -> Result<u64, Error> {
    let text = text(dir, file)?;
    Ok(match text.trim() {
        "max" => u64::MAX,
        text => parse(text).unwrap_or_default(),
    })
}

/// A file with a name and a number in each line.
pub(crate) fn counters(dir: &Path, file: &str) -> Result<HashMap<String, u64>, Error> {
    let text = text(dir, file)?;
    let counters = named_numbers(&text);
    Ok(counters.map(|(name, it)| (name.to_owned(), it)).collect())
}

/// One of the counters in a file, if it is there.
pub(crate) fn counter(dir: &Path, file: &str, name: &str) -> Option<u64> {
    counters(dir, file).ok()?.get(name).copied()
}

/// The words of a file; none if it can't be read.
pub(crate) fn words(dir: &Path, file: &str) -> Vec<String> {
    let text = kernel_file::read(dir.join(file)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The names and numbers in a text that has one of each in a line.
pub(crate) fn named_numbers(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name, parse(number)?))
    })
}

/// A number, with white space around it.
pub(crate) fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}
