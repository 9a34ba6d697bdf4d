use super::lookup::trusted;
use super::{Cache, CompileLock, DEFAULT_LIMIT, Error, Found, Key, MAX_MODULE, Policy};
use medley_engine::TrustedCode;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Far longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Node {
    dir: PathBuf,
    pub(super) cache: Cache,
}

impl Node {
    pub(super) fn new(name: &str, limit: u64) -> Self {
        let dir = std::env::temp_dir().join(format!("medley-cache-{}-{name}", std::process::id()));
        let cache = Cache::open(&dir.join("cache"), limit).unwrap();
        Self { dir, cache }
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        let path = self.dir.join(name);
        File::create(&path).unwrap().write_all(content).unwrap();
        File::open(path).unwrap()
    }

    /// Bytes that stand for native code: nothing here executes them.
    fn code(&self, content: &[u8]) -> TrustedCode {
        taken_for_code(self.file("code", content))
    }

    pub(super) fn key(&self, module: &[u8]) -> Key {
        Key::new(&self.file("module", module), "wasmtime", "48").unwrap()
    }

    pub(super) fn store(&self, module: &[u8], code: &[u8]) -> TrustedCode {
        self.cache
            .store(&self.key(module), Path::new("/app.wasm"), &self.code(code))
            .unwrap()
    }

    fn find(&self, key: &Key) -> Option<Vec<u8>> {
        self.look(&self.cache, key).ok()
    }

    /// The content, or what was wrong with it.
    fn look(&self, cache: &Cache, key: &Key) -> Result<Vec<u8>, String> {
        match cache.find(key).unwrap() {
            Found::Code(code) => {
                let mut code = code.into_file();
                let mut content = Vec::new();
                code.read_to_end(&mut content).unwrap();
                Ok(content)
            }
            Found::Missing { damage } => Err(damage.unwrap_or_default()),
        }
    }

    pub(super) fn files(&self, dir: &str) -> Vec<PathBuf> {
        fs::read_dir(self.dir.join("cache").join(dir))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect()
    }

    /// Flips one bit of the only entry, as a broken disk or a careless hand would.
    fn flip(&self) -> PathBuf {
        let entry = self.files("code").remove(0);
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).unwrap();
        let file = File::options().read(true).write(true).open(&entry).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 2).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 2).unwrap();
        entry
    }

    /// When an entry was last used, set back.
    fn age(&self, code: &[u8], by: Duration) {
        for entry in self.cache.entries().unwrap() {
            if fs::read(entry.path(&self.cache)).unwrap() == code {
                let used = self.cache.used().join(&entry.code);
                let file = File::options().write(true).open(used).unwrap();
                file.set_modified(SystemTime::now() - by).unwrap();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn a_cache_that_somebody_is_just_making_is_empty() {
    let node = Node::new("making", 1 << 20);
    fs::remove_dir(node.dir.join("cache/code")).unwrap();
    assert!(node.cache.entries().unwrap().is_empty());
    assert!(node.cache.prune(Policy::All).unwrap().removed.is_empty());
}

#[test]
fn what_is_stored_is_found_by_its_key_and_no_other() {
    let node = Node::new("found", DEFAULT_LIMIT);
    let key = node.key(b"module");
    assert_eq!(node.find(&key), None);
    node.store(b"module", b"native");
    assert_eq!(node.find(&key).unwrap(), b"native");
    assert_eq!(node.find(&node.key(b"another")), None);
}

/// Two engines, two versions, two configurations, two processors: a change of each is a miss, and
/// what each has made lies side by side.
#[test]
fn every_part_of_a_key_makes_another_entry() {
    let node = Node::new("parts", DEFAULT_LIMIT);
    let keys = [
        ("module", "wasmtime", "48.0.8 speed x86_64 avx2"),
        ("modulf", "wasmtime", "48.0.8 speed x86_64 avx2"),
        ("module", "wasmedge", "48.0.8 speed x86_64 avx2"),
        ("module", "wasmtime", "48.0.9 speed x86_64 avx2"),
        ("module", "wasmtime", "48.0.8 size x86_64 avx2"),
        ("module", "wasmtime", "48.0.8 speed aarch64 avx2"),
        ("module", "wasmtime", "48.0.8 speed x86_64"),
        ("module", "wasmtime4", "8.0.8 speed x86_64 avx2"),
    ];
    let key = |(module, engine, fingerprint): (&str, &str, &str)| {
        Key::new(&node.file("m", module.as_bytes()), engine, fingerprint).unwrap()
    };
    for (number, parts) in keys.into_iter().enumerate() {
        let key = key(parts);
        assert_eq!(node.find(&key), None, "{parts:?}");
        let code = node.code(format!("native {number}").as_bytes());
        node.cache.store(&key, Path::new("/m"), &code).unwrap();
    }
    for (number, parts) in keys.into_iter().enumerate() {
        let expected = format!("native {number}").into_bytes();
        assert_eq!(node.find(&key(parts)), Some(expected), "{parts:?}");
    }
}

#[test]
fn an_entry_with_one_bit_flipped_is_removed_and_never_given() {
    let node = Node::new("flipped", DEFAULT_LIMIT);
    node.store(b"module", b"native");
    let key = node.key(b"module");
    assert!(node.find(&key).is_some());
    let entry = node.flip();
    let said = node.look(&node.cache, &key).unwrap_err();
    assert!(
        said.contains(entry.to_str().unwrap()) && said.contains("removed"),
        "{said}"
    );
    assert!(node.files("code").is_empty() && node.files("keys").is_empty());
    node.store(b"module", b"native");
    assert_eq!(node.find(&key).unwrap(), b"native");
}

/// A file system with fs-verity asks the kernel instead, at every start.
#[test]
fn an_entry_is_read_once_for_each_boot_and_file() {
    let node = Node::new("boot", DEFAULT_LIMIT);
    node.store(b"module", b"native");
    let key = node.key(b"module");
    node.flip();
    // What no file system call can do: the change leaves no trace in the file's times.
    let code = File::open(&node.files("code")[0]).unwrap();
    let now = super::last_use::identity(&code, &node.cache.boot).unwrap();
    fs::write(&node.files("used")[0], &now).unwrap();
    assert!(
        node.find(&key).is_some(),
        "the same file in the same boot was read again"
    );
    let rebooted = Cache {
        boot: "another".to_owned(),
        ..node.cache.clone()
    };
    let said = node.look(&rebooted, &key).unwrap_err();
    assert!(said.contains("removed"), "{said}");
}

#[test]
fn nothing_counts_as_read_where_boots_cannot_be_told_apart() {
    let node = Node::new("no-boot", DEFAULT_LIMIT);
    let unknown = Cache {
        boot: String::new(),
        ..node.cache.clone()
    };
    let key = node.key(b"module");
    let code = node.code(b"native");
    unknown.store(&key, Path::new("/m"), &code).unwrap();
    node.flip();
    let code = File::open(&node.files("code")[0]).unwrap();
    let now = super::last_use::identity(&code, "").unwrap();
    fs::write(&node.files("used")[0], &now).unwrap();
    assert!(node.look(&unknown, &key).is_err());
}

#[test]
fn a_record_with_another_content_is_removed() {
    let node = Node::new("records", DEFAULT_LIMIT);
    let (a, b) = (node.key(b"a"), node.key(b"b"));
    node.store(b"a", b"native a");
    let record = |key: &Key| node.cache.keys().join(key.as_str());
    // A block of another file, an empty file after a crash, one that leads elsewhere.
    let whole = fs::read_to_string(record(&a)).unwrap();
    node.file("forged", b"native");
    let elsewhere = whole
        .replace(a.as_str(), b.as_str())
        .replace(&node.cache.entries().unwrap()[0].code, "../../forged");
    for content in [whole.as_str(), "", &elsewhere] {
        fs::write(record(&b), content).unwrap();
        let said = node.look(&node.cache, &b).unwrap_err();
        assert!(said.contains("damaged"), "{content}: {said}");
        assert!(!record(&b).exists());
    }
    assert_eq!(node.find(&a).unwrap(), b"native a");
}

#[test]
fn what_was_of_no_use_for_longest_makes_room() {
    let node = Node::new("room", 100);
    for module in [b"a", b"b"] {
        node.store(module, &[module[0]; 40]);
    }
    node.age(&[b'a'; 40], Duration::from_secs(60));
    node.age(&[b'b'; 40], Duration::from_secs(30));
    assert!(
        node.find(&node.key(b"a")).is_some(),
        "used, and so the younger one"
    );
    node.store(b"c", &[b'c'; 40]);
    assert!(node.find(&node.key(b"a")).is_some());
    assert!(node.find(&node.key(b"b")).is_none());
    assert!(node.find(&node.key(b"c")).is_some());
    assert_eq!(
        (node.files("keys").len(), node.files("used").len()),
        (2, 2),
        "what belonged to the removed one is left"
    );
}

#[test]
fn what_is_in_use_never_makes_room() {
    let node = Node::new("in-use", 100);
    let held = node.store(b"a", &[b'a'; 60]);
    node.age(&[b'a'; 60], Duration::from_secs(3600));
    let key = node.key(b"b");
    let code = node.code(&[b'b'; 60]);
    let error = node
        .cache
        .store(&key, Path::new("/m"), &code)
        .expect_err("there is no room");
    assert!(matches!(error, Error::NoRoom { held: 60, .. }), "{error}");
    assert!(error.to_string().contains("/limit, such as 4G"), "{error}");
    let pruned = node.cache.prune(Policy::All).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (0, 1));
    assert!(node.find(&node.key(b"a")).is_some());
    drop(held);
    node.cache.store(&key, Path::new("/m"), &code).unwrap();
    assert!(node.find(&node.key(b"a")).is_none());
}

/// It removes nothing, either.
#[test]
fn what_is_larger_than_the_cache_is_not_kept() {
    let node = Node::new("larger", 100);
    node.store(b"a", &[b'a'; 60]);
    let code = node.code(&[b'b'; 101]);
    let refused = node
        .cache
        .store(&node.key(b"b"), Path::new("/m"), &code)
        .unwrap_err();
    assert!(matches!(refused, Error::NoRoom { .. }), "{refused}");
    assert!(node.find(&node.key(b"a")).is_some());
}

#[test]
fn a_limit_is_the_caches_own_and_holds_for_every_shim() {
    let node = Node::new("limit", 100);
    let code = node.code(&[b'b'; 3 << 10]);
    let store = || {
        let cache = Cache::open(node.cache.dir(), 100).unwrap();
        cache.store(&node.key(b"b"), Path::new("/m"), &code)
    };
    let limit = node.cache.dir().join("limit");
    assert!(matches!(store(), Err(Error::NoRoom { limit: 100, .. })));
    fs::write(&limit, "no size\n").unwrap();
    assert!(matches!(store(), Err(Error::NoRoom { limit: 100, .. })));
    fs::write(&limit, "2K\n").unwrap();
    assert!(matches!(store(), Err(Error::NoRoom { limit: 2048, .. })));
    fs::write(&limit, "4K\n").unwrap();
    store().unwrap();
}

#[test]
fn prune_goes_by_age_by_size_or_takes_all() {
    let node = Node::new("prune", DEFAULT_LIMIT);
    for (module, hours) in [(b'a', 30), (b'b', 20), (b'c', 10)] {
        node.store(&[module], &[module; 50]);
        node.age(&[module; 50], Duration::from_secs(hours * 3600));
    }
    let left = |policy| {
        node.cache.prune(policy).unwrap();
        let entries = node.cache.entries().unwrap();
        assert_eq!(node.files("keys").len(), entries.len());
        entries
            .iter()
            .map(|entry| fs::read(entry.path(&node.cache)).unwrap()[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(left(Policy::ToSize(1000)), b"cba");
    assert_eq!(
        left(Policy::OlderThan(Duration::from_secs(25 * 3600))),
        b"cb"
    );
    assert_eq!(left(Policy::ToSize(60)), b"c");
    assert_eq!(left(Policy::All), b"");
    assert!(node.files("used").is_empty());
}

/// What a living one writes is not.
#[test]
fn what_a_dead_writer_left_is_swept_away() {
    let node = Node::new("sweep", DEFAULT_LIMIT);
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let begin = |name: &str| {
        let file = File::create(node.cache.code().join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
        file
    };
    begin(".1.0.dead");
    let living = begin(".1.1.living");
    rustix::fs::flock(&living, rustix::fs::FlockOperation::LockExclusive).unwrap();
    node.cache.prune(Policy::ToSize(DEFAULT_LIMIT)).unwrap();
    let names: Vec<_> = node
        .files("code")
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, [".1.1.living"]);
}

#[test]
fn a_cache_that_others_may_write_is_refused() {
    let node = Node::new("others", DEFAULT_LIMIT);
    let dir = node.dir.join("cache");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&dir, 0o777);
    let error = Cache::open(&dir, DEFAULT_LIMIT).unwrap_err();
    assert!(error.to_string().contains("0777"), "{error}");
    mode(&dir, 0o700);
    mode(&node.dir, 0o777);
    let error = Cache::open(&dir, DEFAULT_LIMIT).unwrap_err();
    let above = node.dir.to_str().unwrap();
    assert!(error.to_string().contains(above), "{error}");
    mode(&node.dir, 0o755);
    Cache::open(&dir, DEFAULT_LIMIT).unwrap();
}

#[test]
fn a_cache_that_is_not_there_is_none_and_is_not_made() {
    let node = Node::new("none", DEFAULT_LIMIT);
    let dir = node.dir.join("nowhere");
    assert!(Cache::existing(&dir, 1).unwrap().is_none());
    assert!(!dir.exists());
}

#[test]
fn one_compiles_while_the_others_wait() {
    let node = Node::new("lock", DEFAULT_LIMIT);
    let key = node.key(b"module");
    let (running, compiled) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let turn = node.cache.lock(&key, "_start", TIMEOUT, &|| true).unwrap();
                let CompileLock::Acquired(_lock) = turn else {
                    panic!("{turn:?}");
                };
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                if node.find(&key).is_none() {
                    compiled.fetch_add(1, Ordering::SeqCst);
                    let code = taken_for_code(File::open(node.dir.join("module")).unwrap());
                    node.cache.store(&key, Path::new("/m"), &code).unwrap();
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(compiled.into_inner(), 1);
    assert!(node.files("locks").is_empty(), "a lock is left");
}

/// Waits until as many processes or threads wait for a lock as are to.
fn wait_for_waiters(path: &Path, count: usize) {
    let inode = fs::metadata(path).unwrap().ino().to_string();
    loop {
        // One open file more for each who waits: the holder has one.
        let open = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|fd| fs::metadata(fd.path()).ok())
            .filter(|found| found.ino().to_string() == inode)
            .count();
        if open > count {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_failure_is_told_to_whoever_waited_for_the_same() {
    let node = Node::new("failure", DEFAULT_LIMIT);
    let key = node.key(b"module");
    let take = |request: &str| node.cache.lock(&key, request, TIMEOUT, &|| true).unwrap();
    let CompileLock::Acquired(lock) = take("_start") else {
        panic!("nobody else is there");
    };
    std::thread::scope(|scope| {
        let same = scope.spawn(|| take("_start"));
        let other = scope.spawn(|| take("run"));
        wait_for_waiters(&node.files("locks")[0], 2);
        lock.fail("it is not valid Wasm");
        let CompileLock::Failed { reason } = same.join().unwrap() else {
            panic!("it was not told");
        };
        assert_eq!(reason, "it is not valid Wasm");
        assert!(matches!(other.join().unwrap(), CompileLock::Acquired(_)));
    });
    // A later one tries again.
    assert!(matches!(take("_start"), CompileLock::Acquired(_)));
}

#[test]
fn nobody_waits_for_ever() {
    let node = Node::new("for-ever", DEFAULT_LIMIT);
    let key = node.key(b"module");
    let _held = node.cache.lock(&key, "", TIMEOUT, &|| true).unwrap();
    let turn = node
        .cache
        .lock(&key, "", Duration::from_millis(20), &|| true)
        .unwrap();
    assert!(matches!(turn, CompileLock::TimedOut));
    let turn = node.cache.lock(&key, "", TIMEOUT, &|| false).unwrap();
    assert!(matches!(turn, CompileLock::GivenUp));
}

#[test]
fn a_module_of_any_size_is_not_read_to_its_end() {
    let node = Node::new("size", DEFAULT_LIMIT);
    let module = node.file("module", b"");
    File::options()
        .write(true)
        .open(node.dir.join("module"))
        .unwrap()
        .set_len(MAX_MODULE + 1)
        .unwrap();
    let error = Key::new(&module, "wasmtime", "48").unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[allow(unsafe_code, reason = "nothing here executes it")]
fn taken_for_code(file: File) -> TrustedCode {
    // SAFETY: nothing here executes it.
    unsafe { trusted(file) }
}
