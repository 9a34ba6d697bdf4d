//! The files of an artifact's components on their way from what reads images to the container: one after the
//! other, each with its component and its path.
//!
//! Either end is at the mercy of what is in an artifact, so paths are checked where they are used: no component
//! and no path leads out of the dir that it is put into.

use std::io::{self, Read, Write};

/// Longest id and longest path, in bytes.
const MAX_NAME: usize = 4096;

/// What is said of a file before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The component's id.
    pub component: String,
    /// Where the component sees the file, from its root, without a `/` at the beginning.
    pub path: String,
    /// How many bytes follow.
    pub size: u64,
}

impl Head {
    /// A file's, if its component and its path are names and nothing more.
    #[must_use]
    pub fn new(component: &str, path: &str, size: u64) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let is_name =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        let good = !component.contains('/')
            && is_name(component)
            && path.split('/').all(is_name)
            && component.len() <= MAX_NAME
            && path.len() <= MAX_NAME;
        good.then(|| Self {
            component: component.to_owned(),
            path: path.to_owned(),
            size,
        })
    }

    /// Writes what is said of a file. Its bytes have to follow.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for text in [&self.component, &self.path] {
            let length = u32::try_from(text.len()).map_err(io::Error::other)?;
            to.write_all(&length.to_le_bytes())?;
            to.write_all(text.as_bytes())?;
        }
        to.write_all(&self.size.to_le_bytes())
    }

    /// Reads what is said of the next file; `None` behind the last.
    ///
    /// # Errors
    /// Those of `from`; [`io::ErrorKind::InvalidData`] if it says what no file has.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(component) = text(from)? else {
            return Ok(None);
        };
        let path = text(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut size = [0; 8];
        from.read_exact(&mut size)?;
        Self::new(&component, &path, u64::from_le_bytes(size))
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A text behind its length; `None` at the end.
fn text(from: &mut impl Read) -> io::Result<Option<String>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while let Some(rest) = length.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_NAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn files_arrive_as_they_were_sent() {
        let mut packed = Vec::new();
        for (path, bytes) in [("a.txt", &b"one"[..]), ("/dir/b", b"")] {
            let head = Head::new("front", path, bytes.len() as u64).unwrap();
            head.write(&mut packed).unwrap();
            packed.extend_from_slice(bytes);
        }
        let mut rest = &packed[..];
        let first = Head::read(&mut rest).unwrap().unwrap();
        assert_eq!((first.path.as_str(), first.size), ("a.txt", 3));
        rest = &rest[3..];
        let second = Head::read(&mut rest).unwrap().unwrap();
        assert_eq!(
            (second.component.as_str(), second.path.as_str()),
            ("front", "dir/b")
        );
        assert_eq!(Head::read(&mut rest).unwrap(), None);
        for cut in 1..packed.len() - 12 {
            let mut rest = &packed[..cut];
            assert!(cut >= 24 || Head::read(&mut rest).is_err(), "{cut}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        for (component, path) in [
            ("a", ".."),
            ("a", "../x"),
            ("a", "x/../../y"),
            ("a", "//x"),
            ("a", "x/./y"),
            ("a", ""),
            ("a", "x\0"),
            ("..", "x"),
            ("a/b", "x"),
            ("", "x"),
        ] {
            assert_eq!(
                Head::new(component, path, 0),
                None,
                "{component:?} {path:?}"
            );
            let mut packed = Vec::new();
            let forged = Head {
                component: component.to_owned(),
                path: path.to_owned(),
                size: 0,
            };
            forged.write(&mut packed).unwrap();
            assert!(Head::read(&mut &packed[..]).is_err());
        }
        let long = u32::MAX.to_le_bytes();
        assert!(Head::read(&mut &long[..]).is_err());
    }
}
