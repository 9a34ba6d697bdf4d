//! How things from specs and images are shown in errors and logs.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// The first bytes of a file, at most eight; shown as hex and as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBytes(Vec<u8>);

impl FirstBytes {
    const SHOWN: usize = 8;

    /// Takes the first eight of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().take(Self::SHOWN).collect())
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x} ")?;
        }
        write!(f, "(\"{}\")", self.0.escape_ascii())
    }
}

/// Text from a spec or an image, quoted, escaped and cut short, so that a hostile one cannot
/// flood or forge a log.
#[derive(Debug, Clone)]
pub struct Quoted(String);

impl Quoted {
    /// Longer text is cut here, in characters: enough for any path that a person wrote.
    const LONGEST: usize = 200;

    /// Shows `text`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut chars = text.chars();
        let mut shown: String = chars.by_ref().take(Self::LONGEST).collect();
        shown = format!("{shown:?}");
        if chars.next().is_some() {
            shown.push('…');
        }
        Self(shown)
    }

    /// Shows `path`.
    #[must_use]
    pub fn path(path: &Path) -> Self {
        Self::os(path.as_os_str())
    }

    fn os(text: &OsStr) -> Self {
        Self::text(&text.to_string_lossy())
    }

    /// Without the quotes, for words that stand in a sentence.
    #[must_use]
    pub fn bare(&self) -> &str {
        let text = self.0.strip_prefix('"').unwrap_or(&self.0);
        text.strip_suffix('"').unwrap_or(text)
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first few of `items`, as an enumeration.
pub fn first_of<T: fmt::Display>(items: &[T]) -> String {
    /// Longer lists help no reader.
    const LISTED: usize = 8;
    let mut shown: Vec<_> = items.iter().take(LISTED).map(ToString::to_string).collect();
    if items.len() > LISTED {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
