use super::{Cache, DEFAULT_LIMIT, Key};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Node {
    folder: PathBuf,
    cache: Cache,
}

impl Node {
    fn new(name: &str, limit: u64) -> Self {
        let folder =
            std::env::temp_dir().join(format!("medley-cache-{}-{name}", std::process::id()));
        let cache = Cache::open(&folder.join("cache"), limit).unwrap();
        Self { folder, cache }
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        let path = self.folder.join(name);
        File::create(&path).unwrap().write_all(content).unwrap();
        File::open(path).unwrap()
    }

    fn key(&self, module: &[u8]) -> Key {
        Key::new(&self.file("module", module), "wasmtime", "48").unwrap()
    }

    fn find(&self, key: &Key) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        self.cache
            .find(key)
            .unwrap()?
            .read_to_end(&mut content)
            .unwrap();
        Some(content)
    }

    fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder.join("cache/code"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

#[test]
fn what_is_stored_is_found_by_its_key_and_no_other() {
    let node = Node::new("found", DEFAULT_LIMIT);
    let key = node.key(b"module");
    assert_eq!(node.find(&key), None);
    node.cache
        .store(&key, &node.file("code", b"native"))
        .unwrap();
    assert_eq!(node.find(&key).unwrap(), b"native");
    assert_eq!(node.find(&node.key(b"another")), None);
}

#[test]
fn every_part_of_a_key_changes_it() {
    let node = Node::new("parts", DEFAULT_LIMIT);
    let module = node.file("module", b"module");
    let key = |engine, fingerprint| Key::new(&module, engine, fingerprint).unwrap();
    assert_eq!(key("wasmtime", "48"), key("wasmtime", "48"));
    assert_ne!(key("wasmtime", "48"), key("wasmedge", "48"));
    assert_ne!(key("wasmtime", "48"), key("wasmtime", "49"));
    assert_ne!(key("wasmtime", "48"), key("wasmtime4", "8"));
    assert_ne!(
        key("wasmtime", "48"),
        Key::new(&node.file("m", b"x"), "wasmtime", "48").unwrap()
    );
}

#[test]
fn an_entry_with_one_bit_flipped_is_removed_and_never_given() {
    let node = Node::new("flipped", DEFAULT_LIMIT);
    let key = node.key(b"module");
    node.cache
        .store(&key, &node.file("code", b"native"))
        .unwrap();
    let entry = node.entries().remove(0);
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&entry, b"natave").unwrap();
    assert_eq!(node.find(&key), None);
    assert!(node.entries().is_empty());
    node.cache
        .store(&key, &node.file("code", b"native"))
        .unwrap();
    assert_eq!(node.find(&key).unwrap(), b"native");
}

#[test]
fn a_link_that_leads_elsewhere_is_not_followed() {
    let node = Node::new("elsewhere", DEFAULT_LIMIT);
    let key = node.key(b"module");
    node.file("forged", b"native");
    let link = node.folder.join("cache/keys").join(key.as_str());
    std::os::unix::fs::symlink("../../forged", link).unwrap();
    assert_eq!(node.find(&key), None);
}

#[test]
fn what_was_of_no_use_for_longest_makes_room() {
    let node = Node::new("room", 100);
    for module in [b"a", b"b"] {
        node.cache
            .store(&node.key(module), &node.file("code", &[module[0]; 40]))
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(
        node.find(&node.key(b"a")).is_some(),
        "used, and so the younger one"
    );
    node.cache
        .store(&node.key(b"c"), &node.file("code", &[b'c'; 40]))
        .unwrap();
    assert!(node.find(&node.key(b"a")).is_some());
    assert!(node.find(&node.key(b"b")).is_none());
    assert!(node.find(&node.key(b"c")).is_some());
}

#[test]
fn a_cache_that_others_may_write_is_refused() {
    let node = Node::new("others", DEFAULT_LIMIT);
    let folder = node.folder.join("cache");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(&folder, DEFAULT_LIMIT).unwrap_err();
    assert!(error.to_string().contains("0777"), "{error}");
}

#[test]
fn one_compiles_while_the_others_wait() {
    let node = Node::new("lock", DEFAULT_LIMIT);
    let key = node.key(b"module");
    let running = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _lock = node.cache.lock(&key).unwrap().unwrap();
                assert_eq!(running.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                std::thread::sleep(std::time::Duration::from_millis(2));
                running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
}
