//! Digests of files, as hex: SHA-256, and fs-verity's.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use medley_sys::verity::BLOCK;
use sha2::{Digest, Sha256};

/// How much of a file is read at a time, in bytes: a multiple of [`BLOCK`].
const CHUNK: usize = 64 * 1024;

/// The SHA-256 of `bytes`.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a whole file, wherever its offset stands.
///
/// # Errors
/// Those of reading it.
pub fn of_file(file: &File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    read(file, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    Ok(hex(&hasher.finalize()))
}

/// Copies a file from its beginning to its end, and gives the SHA-256 of what was copied.
///
/// # Errors
/// Those of reading the one and of writing the other; [`io::ErrorKind::FileTooLarge`] for more than `max`
/// bytes, however long the file was before.
pub fn copy(from: &File, to: &mut impl Write, max: u64) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut left = max;
    read(from, |chunk| {
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        hasher.update(chunk);
        to.write_all(chunk)
    })?;
    Ok(hex(&hasher.finalize()))
}

/// The digest of several parts, none of which can be taken for another.
pub(crate) fn of_parts(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

/// The digest that fs-verity has of a file: the root of a tree of SHA-256 over its blocks, and its
/// size. Where the file system has fs-verity the kernel vouches for it; elsewhere it is as good as
/// any digest.
///
/// See <https://docs.kernel.org/filesystems/fsverity.html>.
pub(crate) fn of_tree(file: &File) -> io::Result<String> {
    let mut tree = Tree::default();
    let mut size = 0;
    read(file, |chunk| {
        size += chunk.len() as u64;
        // A chunk is cut short by the end of the file alone.
        for block in chunk.chunks(BLOCK as usize) {
            tree.add(0, &block_digest(block));
        }
        Ok(())
    })?;
    let mut descriptor = Sha256::new();
    // Version, SHA-256, log2 of the block's size, size of the salt, 4 reserved bytes.
    descriptor.update([1, 1, 12, 0, 0, 0, 0, 0]);
    descriptor.update(size.to_le_bytes());
    descriptor.update(tree.root());
    // 32 bytes that the root leaves, 32 of salt, 144 reserved.
    descriptor.update([0; 32 + 32 + 144]);
    Ok(hex(&descriptor.finalize()))
}

/// Digests of blocks, level over level; each level is a block that is not full yet.
#[derive(Default)]
struct Tree {
    levels: Vec<Vec<u8>>,
}

impl Tree {
    fn add(&mut self, level: usize, digest: &[u8]) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK as usize));
        }
        // Full, and one more is to come: it is not the root.
        if self.levels[level].len() == BLOCK as usize {
            let full = block_digest(&self.levels[level]);
            self.levels[level].clear();
            self.add(level + 1, &full);
        }
        self.levels[level].extend_from_slice(digest);
    }

    /// The digest of the one block on top; of an empty file, zeroes.
    fn root(mut self) -> Vec<u8> {
        let mut level = 0;
        while level < self.levels.len() {
            let held = &self.levels[level];
            // One digest on the highest level is the root itself.
            if level + 1 == self.levels.len() && held.len() == 32 {
                return held.clone();
            }
            let digest = block_digest(held);
            self.add(level + 1, &digest);
            level += 1;
        }
        vec![0; 32]
    }
}

/// The digest of one block, filled up with zeroes.
fn block_digest(block: &[u8]) -> [u8; 32] {
    const ZEROES: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let mut hasher = Sha256::new();
    hasher.update(block);
    hasher.update(&ZEROES[block.len()..]);
    hasher.finalize().into()
}

fn read(file: &File, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let mut held = 0;
        while held < CHUNK {
            match file.read_at(&mut chunk[held..], offset)? {
                0 => break,
                read => {
                    held += read;
                    offset += read as u64;
                }
            }
        }
        if held > 0 {
            each(&chunk[..held])?;
        }
        if held < CHUNK {
            return Ok(());
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `name` is a digest as these functions write it.
pub(crate) fn is_digest(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{of_file, of_tree};
    use std::fs::File;
    use std::io::Write;

    fn file(name: &str, content: &[u8]) -> File {
        let path =
            std::env::temp_dir().join(format!("medley-digest-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn a_file_has_the_digest_that_sha256sum_tells() {
        assert_eq!(
            of_file(&file("sha", b"hello")).unwrap(),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
    }

    /// What `fsverity digest` of fsverity-utils 1.5 tells.
    #[test]
    fn a_file_has_the_digest_that_fs_verity_tells() {
        let zeroes = vec![0; 4096];
        let many = vec![b'x'; 1_000_000];
        let full = vec![0; 128 * 4096];
        let over = vec![0; 129 * 4096];
        let cases: [(&str, &[u8], &str); 6] = [
            (
                "empty",
                b"",
                "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
            ),
            (
                "short",
                b"hello",
                "555b589c26ee43b7a2510e6c67ced9fb3190b6da6e9e683984551f5d77a763de",
            ),
            (
                "one block",
                &zeroes,
                "babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e",
            ),
            (
                "a full block of digests",
                &full,
                "2d15bd7832895de85aa3d5bdfb57251e27bbec75ff467408340ab3eba858a2e1",
            ),
            (
                "one block more",
                &over,
                "2331d9bc1bfa1c8c1a2272b1bc04acca57ec879136c554d313b45b77b94f326e",
            ),
            (
                "levels",
                &many,
                "56671b321993cb8fec39556d6c76a252d5691b982442d1c0cdedf24fe2b1eb30",
            ),
        ];
        for (name, content, digest) in cases {
            assert_eq!(of_tree(&file(name, content)).unwrap(), digest, "{name}");
        }
    }
}
