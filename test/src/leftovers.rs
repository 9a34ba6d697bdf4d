//! The check that a containerd and everything that ran under it left nothing behind.

use anyhow::Result;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where shims put their sockets, wherever containerd's own dirs are.
const SHIM_SOCKETS: &str = "/run/containerd/s";

/// A word that no other test of this machine uses: at most 16 letters and digits.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("m{}x{count}", std::process::id())
}

/// What one private containerd may own on the host, and the means to find it again.
#[derive(Debug)]
pub struct Leftovers {
    name: String,
    dir: PathBuf,
    socket: PathBuf,
    addresses: String,
    /// Guards the namespaces and ids of every container that a client made.
    known: Mutex<BTreeSet<(String, String)>>,
    /// Guards the network namespaces of the pods.
    netns: Mutex<BTreeSet<PathBuf>>,
    /// Guards the mounts that a daemon keeps for as long as it runs.
    kept: Mutex<BTreeSet<PathBuf>>,
}

/// A process found in /proc.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its arguments, separated by spaces.
    pub cmdline: String,
    /// The file it runs, as the kernel shows it.
    pub exe: String,
}

impl Leftovers {
    /// The leftovers of the containerd called `name` with everything in `dir`, which
    /// listens on `socket` and gives its pods addresses that begin with `addresses`.
    pub fn new(name: &str, dir: &Path, socket: &Path, addresses: String) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            socket: socket.to_owned(),
            addresses,
            known: Mutex::default(),
            netns: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Remembers a container, whose socket, cgroups and processes must be gone in the end.
    pub fn expect_gone(&self, namespace: &str, id: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((namespace.to_owned(), id.to_owned()));
    }

    /// Remembers the network namespace of a pod.
    pub fn expect_netns_gone(&self, path: &Path) {
        let mut netns = self.netns.lock().unwrap_or_else(PoisonError::into_inner);
        netns.insert(path.to_owned());
    }

    /// Has a mount pass that a daemon keeps for itself, until [`Leftovers::keep_no_mount`].
    pub fn keep_mount(&self, path: &Path) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(path.to_owned());
    }

    /// No mount passes any more: the daemons have stopped.
    pub fn keep_no_mount(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clear();
    }

    /// Everything of this instance that still exists, one line each; `except` are
    /// processes that may live, such as containerd itself.
    pub fn inspect(&self, except: &[i32]) -> Vec<String> {
        let mut found = Vec::new();
        for process in self
            .processes()
            .into_iter()
            .filter(|p| !except.contains(&p.pid))
        {
            found.push(format!(
                "process {} ({}): {}",
                process.pid, process.exe, process.cmdline
            ));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(
            self.mounts()
                .iter()
                .filter(|path| !kept.contains(*path))
                .map(|path| format!("mount {}", path.display())),
        );
        drop(kept);
        found.extend(
            self.cgroups()
                .iter()
                .map(|path| format!("cgroup {}", path.display())),
        );
        found.extend(
            self.sockets()
                .iter()
                .map(|path| format!("socket {}", path.display())),
        );
        let netns = self.netns.lock().unwrap_or_else(PoisonError::into_inner);
        let left = netns.iter().filter(|path| path.exists());
        found.extend(left.map(|path| format!("network namespace {}", path.display())));
        drop(netns);
        found.extend(self.links());
        found
    }

    /// As [`Leftovers::inspect`], but gives what is just going `patience` to be gone.
    pub fn settle(&self, except: &[i32], patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.inspect(except);
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills and removes what [`Leftovers::inspect`] finds, and the empty cgroups that
    /// stand for the instance's namespace and pods.
    ///
    /// # Errors
    /// None of its own: what cannot be removed is in the next [`Leftovers::inspect`].
    pub fn sweep(&self) -> Result<()> {
        // Several rounds, as a process may start another one before it dies, and a
        // cgroup is busy until the kernel has buried the last of its processes.
        for _ in 0..50 {
            let own = i32::try_from(std::process::id())?;
            for process in self.processes().iter().filter(|process| process.pid != own) {
                // It may have gone by itself.
                kill(Pid::from_raw(process.pid), Signal::SIGKILL).or_else(ignore_gone)?;
            }
            for mount in self.mounts().iter().rev() {
                umount2(mount, MntFlags::MNT_DETACH).or_else(ignore_gone)?;
            }
            let parents = self.cgroup_parents();
            for cgroup in self.cgroups().iter().rev().chain(&parents) {
                // Busy ones are met again in the next round.
                std::fs::remove_dir(cgroup).ok();
            }
            for path in self.sockets() {
                std::fs::remove_file(path).ok();
            }
            if self.inspect(&[]).is_empty() && self.cgroup_parents().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Short ids such as `x` would match strangers; ids given by tests live in the
        // instance's own namespace, which is a name of its own.
        let long = known
            .iter()
            .map(|(_, id)| id.clone())
            .filter(|id| id.len() >= 32);
        std::iter::once(self.name.clone()).chain(long).collect()
    }

    /// All processes of this instance: containerd, shims, helpers and containers.
    pub fn processes(&self) -> Vec<Process> {
        let names = self.names();
        let dir = self.dir.to_string_lossy().into_owned();
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut found = Vec::new();
        for pid in pids().into_iter().filter(|pid| *pid != own) {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let text = |file: &str| {
                let bytes = std::fs::read(proc.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let link = |file: &str| {
                let target = std::fs::read_link(proc.join(file)).unwrap_or_default();
                target.to_string_lossy().into_owned()
            };
            let cmdline = text("cmdline");
            let cgroup = text("cgroup");
            let ours = has_word(&cmdline, &dir)
                || names
                    .iter()
                    .any(|name| has_word(&cgroup, name) || has_word(&cmdline, name))
                || Path::new(&link("cwd")).starts_with(&self.dir)
                || (link("root") == "/" && self.roots_here(&text("mountinfo")));
            if ours {
                let exe = link("exe");
                found.push((Process { pid, cmdline, exe }, zombie_of(&text("stat"))));
            }
        }
        // A dead one is left behind by a parent of ours that does not wait for it. When
        // the parent is gone too, it is up to the host's pid 1 to hurry.
        let parents: Vec<i32> = found.iter().map(|(process, _)| process.pid).collect();
        found.retain(|(_, zombie)| zombie.is_none_or(|of| parents.contains(&of)));
        found.into_iter().map(|(process, _)| process).collect()
    }

    /// Whether a process' mount table has its root inside our dir, as a container's.
    fn roots_here(&self, mountinfo: &str) -> bool {
        let dir = self.dir.to_string_lossy();
        mountinfo
            .lines()
            .any(|line| line.split(' ').nth(4) == Some("/") && line.contains(&format!("{dir}/")))
    }

    /// Mounts below the instance's dir, parents first.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(PathBuf::from);
        points
            .filter(|point| point.starts_with(&self.dir))
            .collect()
    }

    /// Makes a cgroup in every hierarchy, where processes can be put into it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_cgroup(&self, relative: &str) -> Result<()> {
        for root in cgroup_roots() {
            let mut dir = root;
            for part in relative.split('/').filter(|part| !part.is_empty()) {
                let parent = dir.clone();
                dir.push(part);
                std::fs::create_dir_all(&dir)?;
                // Of cgroup v1, which has none to begin with.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let (from, to) = (parent.join(file), dir.join(file));
                    let is_empty = |text: String| text.trim().is_empty();
                    if std::fs::read_to_string(&to).is_ok_and(is_empty) {
                        std::fs::write(&to, std::fs::read(&from)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Cgroups of containers, of every hierarchy, parents first.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let parents = self.cgroup_parents();
        let mut found = Vec::new();
        for dir in cgroup_dirs() {
            let ours = self
                .names()
                .iter()
                .any(|name| has_word(&dir.to_string_lossy(), name));
            if ours && !parents.contains(&dir) {
                found.push(dir);
            }
        }
        found
    }

    /// `/<name>` in each hierarchy: made for the first container, ours to remove, as
    /// a pod's cgroup is the kubelet's.
    fn cgroup_parents(&self) -> Vec<PathBuf> {
        let roots = cgroup_roots();
        let parents = roots.iter().map(|root| root.join(&self.name));
        parents.filter(|path| path.exists()).collect()
    }

    /// Sockets of the shims of all containers that were made.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = known
            .iter()
            .map(|(namespace, id)| self.shim_socket(namespace, id));
        paths.filter(|path| path.exists()).collect()
    }

    /// The socket of the shim that serves the group `id`.
    pub fn shim_socket(&self, namespace: &str, id: &str) -> PathBuf {
        let text = self.socket.join(namespace).join(id);
        let hash = Sha256::digest(text.as_os_str().as_encoded_bytes());
        Path::new(SHIM_SOCKETS).join(format!("{hash:x}"))
    }

    /// Addresses of the instance that the host still routes to, of veth pairs that are left.
    fn links(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        let leaves = table
            .lines()
            .filter_map(|line| line.trim().strip_prefix("|-- "));
        let mut ours: Vec<_> = leaves
            .filter(|address| address.starts_with(&self.addresses))
            .collect();
        ours.sort_unstable();
        ours.dedup();
        ours.iter()
            .map(|address| format!("route to {address}"))
            .collect()
    }
}

/// The parent of a process that is dead, by its /proc/PID/stat.
fn zombie_of(stat: &str) -> Option<i32> {
    // The name in parentheses may hold anything, the state and the parent follow it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state == "Z").then_some(parent)
}

fn ignore_gone(error: nix::Error) -> Result<(), nix::Error> {
    match error {
        nix::Error::ESRCH | nix::Error::EINVAL | nix::Error::ENOENT => Ok(()),
        other => Err(other),
    }
}

/// `name` in `text`, not as a part of a longer word.
fn has_word(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn cgroup_roots() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut roots: Vec<PathBuf> = table
        .lines()
        .filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect();
    roots.sort();
    roots.dedup();
    roots
}

fn cgroup_dirs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = cgroup_roots();
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                queue.push(entry.path());
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::{cgroup_dirs, has_word};

    #[test]
    fn a_name_is_not_found_inside_a_longer_one() {
        assert!(has_word("/sys/fs/cgroup/memory/m12x3/hello", "m12x3"));
        assert!(!has_word("/sys/fs/cgroup/memory/m12x34/hello", "m12x3"));
        assert!(!has_word("/sys/fs/cgroup/memory/am12x3/hello", "m12x3"));
        assert!(has_word(
            "containerd --config /tmp/medley-m1x1/c.toml",
            "/tmp/medley-m1x1"
        ));
        assert!(!has_word(
            "containerd --config /tmp/medley-m1x16/c.toml",
            "/tmp/medley-m1x1"
        ));
    }

    #[test]
    fn cgroups_of_the_host_are_found_once_each() {
        let mut dirs = cgroup_dirs();
        let count = dirs.len();
        dirs.dedup();
        assert_eq!(count, dirs.len());
    }
}
