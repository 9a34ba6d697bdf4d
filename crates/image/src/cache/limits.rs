//! How much the cache takes.

/// Largest module that is compiled, in bytes. Larger ones find no engine.
pub const MAX_MODULE: u64 = 512 << 20;

/// The most that all entries hold together, in bytes. Room for some hundred modules of a few MB.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// A size as people write it: `1000`, `500K`, `500M`, `2G`, `2GiB`; powers of 1024.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.strip_suffix("iB").unwrap_or(text);
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)];
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}
