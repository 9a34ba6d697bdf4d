//! The shim on a node that has nothing else: no C library, no loader, no shell, no /etc.

use medley_test::runtime::shim_path;
use medley_test::*;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Where a node has the libraries that a release brings for WasmEdge's program.
const LIBRARIES: &str = "/var/lib/containerd-shim-wasm/wasmedge";

/// Makes a root of its own with the kernel's file systems and what it is given, moves to it, and stays
/// until its input ends. `$1` is the root; then come pairs of what to take and what to call it there: a
/// dir is seen there, a file is copied. busybox is its only program, and leaves as well.
const MAKE: &str = r#"
set -e
root=$1
shift
busybox mount -t tmpfs -o mode=755 empty "$root"
busybox mkdir -p "$root/old" "$root/tmp"
busybox cp "/proc/$$/exe" "$root/busybox"
while [ $# -gt 0 ]; do
    if [ -d "$1" ]; then
        busybox mkdir -p "$root$2"
        busybox mount --rbind "$1" "$root$2"
    else
        busybox mkdir -p "$root${2%/*}"
        busybox cp "$1" "$root$2"
    fi
    shift 2
done
cd "$root"
busybox pivot_root . old
cd /
/busybox umount -l /old
/busybox rm -r /busybox /old
echo ready
read -r _
"#;

/// What is in it of each node.
const KERNEL: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// A file or a dir, and its path in the empty root.
type Given = (PathBuf, PathBuf);

/// A mount namespace with such a root.
struct EmptyRoot {
    holder: Child,
}

impl EmptyRoot {
    /// One with the shim, and with these files; containerd's `dir` is seen in it.
    fn new(dir: &Path, files: &[Given]) -> Result<Self> {
        let root = dir.join("empty");
        std::fs::create_dir(&root)?;
        let mut holder = Command::new("unshare");
        holder
            .args(["--mount", "--propagation", "private"])
            .args(["busybox", "sh", "-c", MAKE, "sh"])
            .arg(&root)
            .args([&shim_path()?, Path::new("/containerd-shim-wasm-v1")])
            .args([dir, dir]);
        for seen in KERNEL {
            holder.args([seen, seen]);
        }
        for (file, path) in files {
            holder.args([file, path]);
        }
        let mut holder = holder
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "the root was not made: {line:?}");
        Ok(Self { holder })
    }

    /// A command line that runs the shim in it.
    fn shim(&self) -> String {
        let pid = self.holder.id();
        format!("nsenter --target {pid} --mount --wdns=\"$PWD\" /containerd-shim-wasm-v1")
    }

    fn run(&self, args: &str) -> Result<Output> {
        let line = format!("exec {} {args}", self.shim());
        Ok(Command::new("sh")
            .args(["-c", &line])
            .current_dir("/")
            .output()?)
    }

    /// Has containerd run the shim in it.
    fn take_over(&self, containerd: &Containerd) -> Result<()> {
        let program = containerd.dir().join("bin").join(Runtime::Medley.binary());
        std::fs::remove_file(&program)?;
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", self.shim());
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        drop(self.holder.stdin.take());
        self.holder.wait()?;
        Ok(())
    }
}

/// Runs a container by `ctr`, which says hello and ends with `code`.
async fn says_hello(containerd: &Containerd, words: &[&str], id: &str, code: i32) -> Result<()> {
    containerd.leftovers().expect_gone(containerd.name(), id);
    let mut args = vec!["run", "--rm", "--runtime", Runtime::Medley.name()];
    args.extend(words);
    let done = containerd.ctr(&args).await?;
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{id}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "hello\n", "{id}");
    assert_eq!(done.status.code(), Some(code), "{id}");
    Ok(())
}

#[tokio::test]
async fn containers_run_where_nothing_but_the_shim_is() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    let module = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&linux, &module]).await?;
    let root = EmptyRoot::new(containerd.dir(), &[])?;
    root.take_over(&containerd)?;
    let script = "echo hello; exit 42";
    let words = [&linux.name, "linux", "/bin/sh", "-c", script];
    says_hello(&containerd, &words, "linux", 42).await?;
    says_hello(&containerd, &[&module.name, "wasm"], "wasm", 0).await?;
    root.end()?;
    containerd.close().await
}

#[tokio::test]
async fn commands_answer_where_nothing_but_the_shim_is() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let root = EmptyRoot::new(containerd.dir(), &[])?;
    let done = root.run("-v")?;
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stdout)?;
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let done = root.run("-info </dev/null")?;
    assert!(done.status.success() && !done.stdout.is_empty(), "{done:?}");
    // There is no containerd to be found, and it says so.
    let done = root.run("status")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        said.contains("there is no containerd that is known"),
        "{done:?}"
    );
    let done = root.run("cache stat")?;
    assert!(done.status.success(), "{done:?}");
    root.end()?;
    containerd.close().await
}

mod wasmedge {
    use super::*;

    /// WasmEdge's program, and all that its loader takes. A release's has its libraries beside it; one that
    /// was built for this machine takes them from here.
    fn with_libraries() -> Result<Vec<Given>> {
        let program = Engine::WasmEdge.program()?;
        let name = Path::new("/").join(program.file_name().context("no name")?);
        let mut files = vec![(program.clone(), name)];
        let brought = program.with_extension("d");
        if brought.is_dir() {
            files.push((brought, LIBRARIES.into()));
            return Ok(files);
        }
        // The loader lists them, itself among them, instead of running the program.
        let listed = Command::new(&program)
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .output()?;
        let listed = String::from_utf8(listed.stdout)?;
        let paths = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        files.extend(paths.map(|path| (path.into(), path.into())));
        anyhow::ensure!(files.len() > 2, "{} lists no libraries", program.display());
        Ok(files)
    }

    #[tokio::test]
    async fn runs_where_nothing_but_its_libraries_is() -> Result<()> {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let module = images::wasm("hello", &guests::module("hello")?)?;
        containerd.import(&[&module]).await?;
        let root = EmptyRoot::new(containerd.dir(), &with_libraries()?)?;
        root.take_over(&containerd)?;
        let annotation = "run.oci.handler=wasmedge";
        let words = ["--annotation", annotation, &module.name, "wasm"];
        says_hello(&containerd, &words, "wasm", 0).await?;
        assert!(containerd.log().contains("engine=wasmedge"));
        root.end()?;
        containerd.close().await
    }
}
