//! What `install` makes of a root on which it can't work, for want of room or of rights or because another one is
//! at work, and of configurations that strangers have written.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::install::one_at_a_time;
use medley_test::{debian, *};

/// Bytes of a page: what a file of a tmpfs takes at least.
const PAGE: u64 = 4096;

const CONFIG: &str = "etc/containerd/config.toml";

/// The root of a node, a tmpfs of its own, and the shim in a directory without other programs.
struct Node {
    dir: PathBuf,
    root: PathBuf,
    shim: PathBuf,
}

impl Node {
    fn new(options: &str) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-test-{}", leftovers::unique()));
        std::fs::create_dir(&dir)?;
        // For users who are not root as well.
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        let (root, programs) = (dir.join("root"), dir.join("programs"));
        std::fs::create_dir(&root)?;
        std::fs::create_dir(&programs)?;
        let shim = programs.join("containerd-shim-wasm-v1");
        // Not by this process: a fork of another test would have the file open for writing, and it could not run.
        let copied = Command::new("cp")
            .arg(runtime::shim_path()?)
            .arg(&shim)
            .output()?;
        ensure!(copied.status.success(), "cp: {copied:?}");
        let node = Self { dir, root, shim };
        node.mount(&["-t", "tmpfs", "-o", &format!("mode=755,{options}"), "none"])?;
        for dir in [
            "etc/containerd",
            "etc/kubernetes",
            "usr/local/bin",
            "usr/bin",
            "var/lib",
        ] {
            std::fs::create_dir_all(node.root.join(dir))?;
        }
        std::fs::write(node.root.join("usr/bin/containerd"), "")?;
        std::fs::write(node.root.join(CONFIG), "version = 2\n")?;
        Ok(node)
    }

    fn mount(&self, args: &[&str]) -> Result<()> {
        let done = Command::new("mount").args(args).arg(&self.root).output()?;
        ensure!(done.status.success(), "mount {args:?}: {done:?}");
        Ok(())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.shim);
        command.arg(verb).arg("--root").arg(&self.root);
        command
    }

    fn run(&self, verb: &str) -> Result<Output> {
        Ok(self.command(verb).output()?)
    }

    /// Everything that is in the root, with its mode and its bytes' number and sum.
    fn everything(&self) -> Result<BTreeMap<PathBuf, (u32, Vec<u8>)>> {
        let mut all = BTreeMap::new();
        walk(&self.root, &mut all)?;
        Ok(all)
    }

    /// The command says no, in these words, and nothing is another.
    fn refuses(&self, mut command: Command, words: &[&str]) -> Result<()> {
        let before = self.everything()?;
        let done = command.output()?;
        let said = String::from_utf8(done.stderr)?;
        assert_eq!(done.status.code(), Some(1), "{said}");
        for word in words.iter().chain(&["nothing was changed"]) {
            assert!(said.contains(word), "no {word:?} in: {said}");
        }
        assert!(self.everything()? == before, "something changed: {said}");
        Ok(())
    }

    /// All of it is undone again.
    fn is_undone(&self, before: &BTreeMap<PathBuf, (u32, Vec<u8>)>) -> Result<()> {
        let done = self.run("uninstall")?;
        ensure!(done.status.success(), "{done:?}");
        assert!(
            self.everything()? == *before,
            "uninstall has left something"
        );
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.root).status();
        // Not with something mounted there still.
        let is_gone = done.is_ok_and(|status| status.success());
        if !is_gone || std::fs::remove_dir_all(&self.dir).is_err() {
            eprintln!("cannot remove {}", self.dir.display());
        }
    }
}

fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = path.symlink_metadata()?;
        let content = if meta.is_dir() {
            walk(&path, all)?;
            Vec::new()
        } else if meta.is_symlink() {
            std::fs::read_link(&path)?
                .into_os_string()
                .into_encoded_bytes()
        } else {
            std::fs::read(&path)?
        };
        all.insert(path, (meta.mode(), content));
    }
    Ok(())
}

/// Tries with ever more of what there is too little of, until it is enough. Each try fails somewhere else.
fn until_enough(more: impl Fn(u64) -> String) -> Result<()> {
    /// A page, or an inode, for each file and directory that is written: some thirty.
    const MOST: u64 = 100;
    for n in 0..MOST {
        let node = Node::new(&more(n))?;
        let before = node.everything()?;
        let done = node.run("install")?;
        if done.status.success() {
            assert!(n >= 3, "it was enough from the beginning");
            return node.is_undone(&before);
        }
        drop(done);
        let words = ["No space left on device", "make room on that disk"];
        node.refuses(node.command("install"), &words)?;
    }
    bail!("{MOST} more were not enough")
}

/// From one that has no room for the record to one that has too little for the last file.
#[tokio::test]
async fn a_disk_that_fills_up_on_the_way_changes_nothing() -> Result<()> {
    let shim = std::fs::metadata(runtime::shim_path()?)?.len();
    for size in [64 * PAGE, shim / 2] {
        let node = Node::new(&format!("size={size}"))?;
        let words = ["No space left on device", "make room on that disk"];
        node.refuses(node.command("install"), &words)?;
    }
    // The two files that are there take a page each, as does each directory of some kernels.
    let used = shim.div_ceil(PAGE) + 1;
    until_enough(|n| format!("size={}", (used + n) * PAGE))
}

#[tokio::test]
async fn a_disk_without_inodes_for_all_files_changes_nothing() -> Result<()> {
    // Those of the root and of what `Node::new` makes in it.
    until_enough(|n| format!("nr_inodes={}", 13 + n))
}

#[tokio::test]
async fn a_root_that_is_read_only_is_told_and_left_alone() -> Result<()> {
    let node = Node::new("size=1G")?;
    let before = node.everything()?;
    node.mount(&["-o", "remount,ro"])?;
    node.refuses(
        node.command("install"),
        &["Read-only file system", "--bin-dir"],
    )?;
    node.mount(&["-o", "remount,rw"])?;
    ensure!(node.run("install")?.status.success());
    node.mount(&["-o", "remount,ro"])?;
    node.refuses(node.command("uninstall"), &["Read-only file system"])?;
    node.mount(&["-o", "remount,rw"])?;
    node.is_undone(&before)
}

#[tokio::test]
async fn a_user_without_rights_is_told_to_be_root() -> Result<()> {
    let node = Node::new("size=1G")?;
    let before = node.everything()?;
    let nobody = |verb| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .arg(&node.shim)
            .arg(verb)
            .arg("--root")
            .arg(&node.root);
        command
    };
    node.refuses(
        nobody("install"),
        &["Permission denied", "run this as root"],
    )?;
    ensure!(node.run("install")?.status.success());
    node.refuses(
        nobody("uninstall"),
        &["Permission denied", "run this as root"],
    )?;
    node.is_undone(&before)
}

/// The second one comes while the first one has the node restarted.
#[tokio::test]
async fn a_second_install_waits_for_no_first_one() -> Result<()> {
    let node = Node::new("size=1G")?;
    let before = node.everything()?;
    let (ask, answer) = (node.dir.join("ask"), node.dir.join("answer"));
    for fifo in [&ask, &answer] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU)?;
    }
    let restart = format!("echo > {}; read line < {}", ask.display(), answer.display());
    let first = node
        .command("install")
        .args(["--restart-with", &restart, "--wait", "1"])
        .stderr(Stdio::piped())
        .spawn()?;
    // It is at work when it asks, and goes on with the answer.
    let asked = tokio::task::spawn_blocking(move || std::fs::read(ask));
    asked.await??;
    let during = node.everything()?;
    for verb in ["install", "uninstall"] {
        let done = node.run(verb)?;
        let said = String::from_utf8(done.stderr)?;
        assert!(
            said.contains("another install or uninstall is under way"),
            "{said}"
        );
    }
    assert!(node.everything()? == during);
    // The restart brings no containerd, which the first one notices; to take all back it asks again.
    let answers = tokio::task::spawn_blocking({
        let (ask, answer) = (node.dir.join("ask"), answer);
        move || -> Result<()> {
            std::fs::write(&answer, "\n")?;
            std::fs::read(ask)?;
            Ok(std::fs::write(&answer, "\n")?)
        }
    });
    let done = tokio::task::spawn_blocking(move || first.wait_with_output()).await??;
    answers.await??;
    let said = String::from_utf8(done.stderr)?;
    assert!(said.contains("did not come up"), "{said}");
    assert!(node.everything()? == before, "{said}");
    Ok(())
}

/// As people leave them; what comes of each is what containerd itself reads.
#[tokio::test]
async fn what_strangers_have_written_is_taken_as_containerd_reads_it() -> Result<()> {
    const OLD: &str = "of version 1, in which this containerd reads no handlers";
    const NEW: &str = "of version 3, in which this containerd reads no handlers";
    const BROKEN: &str = "cannot read its configuration as it is now";
    let table = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]\nruntime_type = \"/opt/x\"\n";
    let stray = format!("version = 3\n{table}");
    // What is said with containerd 1.6, 1.7 and 2; nothing where it is installed.
    let suites = ["bookworm", "trixie", "testing"];
    for (text, expected) in [
        (
            "version = 2\r\n[debug]\r\nlevel = \"info\"\r\n",
            ["", "", ""],
        ),
        ("\u{feff}version = 2\n", ["", "", BROKEN]),
        ("[plugins.cri]\nsandbox_image = \"a\"\n", ["", "", OLD]),
        ("disabled_plugins = [\"cri\"]\n", ["", "", ""]),
        (
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n",
            [NEW, BROKEN, ""],
        ),
        (&stray, [NEW, BROKEN, ""]),
        ("version = 2\nplugins = 3\n", ["plugins is integer"; 3]),
        (
            "version = 2\nimports = [\"DIR/conf.d/*.toml\"]\n",
            ["", "", ""],
        ),
    ] {
        for (suite, expected) in suites.iter().zip(expected) {
            let _guard = one_at_a_time().await?;
            let dir = std::env::temp_dir().join(format!("medley-test-{}", leftovers::unique()));
            std::fs::create_dir(&dir)?;
            let config = dir.join("config.toml");
            std::fs::write(&config, text.replace("DIR", &dir.to_string_lossy()))?;
            // As NVIDIA's toolkit leaves it, which with containerd 1 replaces all that the main one says of the CRI.
            let theirs = dir.join("conf.d/99-nvidia.toml");
            if text.contains("conf.d") {
                std::fs::create_dir(dir.join("conf.d"))?;
                let nvidia = table.replace("wasm", "nvidia");
                std::fs::write(&theirs, format!("version = 2\n{nvidia}"))?;
            }
            let run = |verb: &str, more: &[String]| {
                let (state, binary) = (dir.join("state"), debian::containerd(suite)?);
                let mut command = std::process::Command::new(runtime::shim_path()?);
                command
                    .arg(verb)
                    .arg("--config")
                    .arg(&config)
                    .arg("--state")
                    .arg(state);
                command.arg("--containerd").arg(binary).args(more);
                Ok::<_, anyhow::Error>(command.output()?)
            };
            let bin = format!("--bin-dir={}", dir.join("bin").display());
            let done = run("install", &[bin, "--no-aliases".to_owned()])?;
            let said = String::from_utf8(done.stderr.clone())?;
            let name = format!("{text:?} with {suite}: {said}");
            assert_eq!(done.status.success(), expected.is_empty(), "{name}");
            assert!(said.contains(expected), "{name}");
            let undone = run("uninstall", &[])?;
            assert!(undone.status.success(), "{name}: {undone:?}");
            let left = std::fs::read_to_string(&config)?;
            assert_eq!(left, text.replace("DIR", &dir.to_string_lossy()), "{name}");
            if text.contains("conf.d") {
                let left = std::fs::read_to_string(&theirs)?;
                assert!(left.ends_with("/opt/x\"\n"), "{name}: {left}");
                std::fs::remove_dir_all(dir.join("conf.d"))?;
            }
            std::fs::remove_file(&config)?;
            std::fs::remove_dir(&dir).with_context(|| format!("something is left by {name}"))?;
        }
    }
    Ok(())
}
