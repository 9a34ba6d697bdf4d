//! An OCI runtime's command line with a root dir of its own, and bundles for it.

use crate::leftovers::{Leftovers, unique};
use crate::runtime::{Runtime, shim_path};
use crate::{Image, Spec, proc};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long what is just going may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command ended with.
#[derive(Debug)]
pub struct CommandOutput {
    /// Its exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// What it and its container wrote.
    pub stdout: String,
    /// The same for errors.
    pub stderr: String,
}

impl CommandOutput {
    /// What was written, of a command that succeeded.
    ///
    /// # Errors
    /// It failed.
    pub fn ok(self) -> Result<String> {
        ensure!(
            self.code == 0,
            "it ended with {}: {}",
            self.code,
            self.stderr
        );
        Ok(self.stdout)
    }
}

/// A command that runs, and the files of its stdio.
#[derive(Debug)]
pub struct Started {
    /// Its process.
    pub child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    /// Waits for its end.
    ///
    /// # Errors
    /// Those of reading what it wrote.
    pub fn wait(mut self) -> Result<CommandOutput> {
        let status = self.child.wait()?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Ok(CommandOutput {
            code: code.unwrap_or(-1),
            stdout: std::fs::read_to_string(self.stdout)?,
            stderr: std::fs::read_to_string(self.stderr)?,
        })
    }
}

/// A runtime's command line. [`Oci::close`] removes what is left and fails if anything stays on the host.
#[derive(Debug)]
pub struct Oci {
    program: PathBuf,
    name: String,
    dir: PathBuf,
    leftovers: Leftovers,
    closed: bool,
}

impl Oci {
    /// That of `runtime`: `medley`, a link to the shim, or `runc`.
    ///
    /// # Errors
    /// There is no shim, or the dir cannot be made.
    pub fn new(runtime: Runtime) -> Result<Self> {
        let name = unique();
        let dir = std::env::temp_dir().join(format!("medley-{name}"));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let leftovers = Leftovers::new(&name, &dir, &dir.join("no.sock"), "no address".to_owned());
        let program = match runtime {
            Runtime::Medley => {
                let link = dir.join("medley");
                symlink(shim_path()?, &link)?;
                link
            }
            Runtime::Runc => "runc".into(),
        };
        Ok(Self {
            program,
            name,
            dir,
            leftovers,
            closed: false,
        })
    }

    /// A dir for what the test needs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the state of containers is.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The spec of a container of `image`, in the test's own cgroup.
    pub fn spec(&self, image: &Image, id: &str) -> Spec {
        self.leftovers.expect_gone(&self.name, id);
        Spec::of(image, &self.name, id)
    }

    /// Makes a bundle of an image and a spec, and gives its dir.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn bundle(&self, id: &str, image: &Image, spec: &Spec) -> Result<PathBuf> {
        let bundle = self.dir.join("bundles").join(id);
        let rootfs = bundle.join("rootfs");
        std::fs::create_dir_all(&rootfs)?;
        image.unpack(&rootfs)?;
        std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
        Ok(bundle)
    }

    /// A container of busybox that runs a script: makes its bundle.
    ///
    /// # Errors
    /// As for [`Oci::bundle`].
    pub fn script(
        &self,
        id: &str,
        script: &str,
        change: impl FnOnce(Spec) -> Spec,
    ) -> Result<PathBuf> {
        let image = crate::images::linux()?;
        let spec = self.spec(&image, id).args(["/bin/sh", "-c", script]);
        self.bundle(id, &image, &change(spec))
    }

    /// The program with `args` behind `--root`.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null());
        // The cache is the test's own.
        command.env("CONTAINERD_SHIM_WASM_CACHE", self.dir.join("cache"));
        command
    }

    /// Starts a command whose output goes to files: a container that it makes keeps them open.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(&self, mut command: Command) -> Result<Started> {
        let file = self.dir.join(format!("out-{}", unique()));
        let (stdout, stderr) = (file.with_extension("1"), file.with_extension("2"));
        let child = command
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Started {
            child,
            stdout,
            stderr,
        })
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<CommandOutput> {
        self.start(self.command(args))?.wait()
    }

    /// Makes a container of a bundle, whose output goes to the file that is given.
    ///
    /// # Errors
    /// Create failed.
    pub fn create(&self, id: &str, bundle: &Path) -> Result<PathBuf> {
        let output = bundle.join("output");
        let mut command = self.command(&["create", "--bundle"]);
        command.arg(bundle).arg(id).stdout(File::create(&output)?);
        let errors = bundle.join("errors");
        let status = command.stderr(File::create(&errors)?).status()?;
        let said = std::fs::read_to_string(errors)?;
        ensure!(status.success(), "create ended with {status}: {said}");
        Ok(output)
    }

    /// The state of a container.
    ///
    /// # Errors
    /// There is no such container, or the state is no JSON.
    pub fn state(&self, id: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["state", id])?.ok()?)?)
    }

    /// Waits until a container is in this state.
    ///
    /// # Errors
    /// It never is.
    pub async fn until(&self, id: &str, status: &str) -> Result<()> {
        let is_so = || self.state(id).is_ok_and(|state| state["status"] == status);
        proc::until(&format!("{id} is {status}"), is_so).await
    }

    /// What of the test's is on the host, a line each.
    pub fn left(&self) -> Vec<String> {
        self.leftovers.settle(&[], PATIENCE)
    }

    /// The test's processes on the host, a line each.
    pub fn processes(&self) -> Vec<String> {
        let found = self.leftovers.processes().into_iter();
        found
            .map(|process| {
                format!(
                    "process {} ({}): {}",
                    process.pid, process.exe, process.cmdline
                )
            })
            .collect()
    }

    /// Removes the dir.
    ///
    /// # Errors
    /// What is left on the host besides, or below the root.
    pub fn close(mut self) -> Result<()> {
        self.closed = true;
        let mut left = self.left();
        let entries = std::fs::read_dir(self.root())
            .into_iter()
            .flatten()
            .flatten();
        left.extend(entries.map(|entry| format!("state {}", entry.path().display())));
        self.leftovers.sweep()?;
        std::fs::remove_dir_all(&self.dir)?;
        ensure!(left.is_empty(), "left behind: {}", left.join("; "));
        Ok(())
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        if !self.closed {
            self.leftovers.sweep().ok();
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// What a socket that was listened on is sent: the bytes of one message, and its descriptors.
///
/// # Errors
/// No connection or no message comes.
pub fn receive(listener: &std::os::unix::net::UnixListener) -> Result<Vec<std::os::fd::OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (connection, _) = listener.accept()?;
    let mut bytes = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(
        &connection,
        &mut buffers,
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(fds)
}

/// Reads a terminal until it has shown `wanted`.
///
/// # Errors
/// Its other side is closed before.
pub fn read_until(terminal: &mut File, wanted: &str) -> Result<String> {
    let mut seen = String::new();
    let mut chunk = [0; 256];
    while !seen.contains(wanted) {
        let size = terminal
            .read(&mut chunk)
            .with_context(|| format!("the terminal showed {seen:?}"))?;
        ensure!(size > 0, "the terminal ended after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..size]));
    }
    Ok(seen)
}
