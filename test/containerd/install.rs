//! `install`, `uninstall` and `status` on nodes with a real containerd.
//!
//! The commands see the machine's own root, so that they may run its programs; what they change is
//! told to be in the test's directory. One command at a time holds the root's lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

use medley_test::{debian, *};
use nix::fcntl::{Flock, FlockArg};
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// Held while a command runs: each test is a process of its own.
pub(crate) async fn one_at_a_time() -> Result<Flock<File>> {
    let path = std::env::temp_dir().join("medley-test-install");
    let file = File::options().create(true).append(true).open(path)?;
    let lock = tokio::task::spawn_blocking(|| Flock::lock(file, FlockArg::LockExclusive));
    lock.await?.map_err(|(_, error)| error.into())
}

/// A containerd that knows nothing of the shim, and has none in its PATH.
struct Node {
    containerd: Containerd,
    binary: PathBuf,
    /// The program that the commands are run with.
    shim: PathBuf,
    /// Whether that is done in a container, as a DaemonSet has them: nothing is in it but the
    /// program and the node's root.
    in_container: bool,
}

/// Process 1 of a pid namespace, which stands for a node's; it runs the container. The node keeps an empty
/// mount namespace, as one where containers have run, which has to be gone after `uninstall`. The kernel
/// keeps only one with a higher number than the keeper's, and each processor has a range of its own.
const INIT: &str = r#"kept=/run/containerd-shim-wasm/mounts
    mkdir -p "${kept%/*}" && mount -t tmpfs none "${kept%/*}" && mkdir "$kept" &&
    mount --bind "$kept" "$kept" && mount --make-private "$kept" && touch "$kept/empty" &&
    for try in $(seq 50); do unshare --mount="$kept/empty" true 2>/dev/null && break; done
    mountpoint -q "$kept/empty" || exit 3
    unshare --mount -- sh -c "$0" sh "$@" || exit $?
    case $3 in
    uninstall) [ ! -e "$kept" ] || { echo "$kept is left" >&2 && exit 4; } ;;
    *) [ -e "$kept/empty" ] || exit 5 ;;
    esac"#;

/// Makes such a container in its first argument out of the second, a program, and runs that with
/// the others.
const CONTAINER: &str = r#"dir=$1; shim=$2; shift 2
    mount -t tmpfs none "$dir" && mkdir "$dir/host" "$dir/proc" &&
    mount --rbind / "$dir/host" && mount --rbind /proc "$dir/proc" &&
    cp "$shim" "$dir/shim" && exec chroot "$dir" /shim "$@" --root=/host --nsenter"#;

impl Node {
    async fn start(binary: PathBuf) -> Result<Self> {
        Self::start_with(Options {
            binary,
            ..Options::new(Runtime::Medley)
        })
        .await
    }

    async fn start_with(options: Options) -> Result<Self> {
        let binary = options.binary.clone();
        let containerd = Containerd::start_with(options).await?;
        let mut node = Self {
            containerd,
            binary,
            shim: runtime::shim_path()?,
            in_container: false,
        };
        std::fs::remove_dir_all(node.at("bin"))?;
        let config = node.config()?;
        // The handler's table, up to the empty line behind it.
        let start = config
            .find("    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]")
            .context("the configuration has no handler")?;
        std::fs::write(node.at("config.toml"), &config[..start])?;
        for fifo in ["ask", "answer"] {
            nix::unistd::mkfifo(&node.at(fifo), nix::sys::stat::Mode::S_IRWXU)?;
        }
        node.containerd.restart().await?;
        Ok(node)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.containerd.dir().join(name)
    }

    fn config(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.at("config.toml"))?)
    }

    /// The arguments that tell where everything is.
    fn place(&self, verb: &str) -> Vec<String> {
        let mut args = vec![verb.to_owned()];
        let mut tell = |option: &str, path: PathBuf| {
            args.push(format!("--{option}={}", path.display()));
        };
        tell("config", self.at("config.toml"));
        tell("address", self.containerd.socket());
        tell("state", self.at("noted"));
        match verb {
            "install" => {
                tell("bin-dir", self.at("bin"));
                tell("containerd", self.binary.clone());
            }
            "uninstall" => tell("containerd", self.binary.clone()),
            _ => {}
        }
        args
    }

    /// Runs a command; containerd is restarted as often as it asks for it. Says how often.
    async fn run(&mut self, verb: &str, more: &[&str]) -> Result<(Output, usize)> {
        let _guard = one_at_a_time().await?;
        let (ask, answer) = (self.at("ask"), self.at("answer"));
        let both = |path: &Path| {
            pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(path)
        };
        let mut asked = both(&ask)?;
        let mut answers = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(&answer)?;
        let mut args = self.place(verb);
        if verb != "status" {
            args.push("--restart-with".to_owned());
            args.push(format!(
                "echo > {}; read line < {}",
                ask.display(),
                answer.display()
            ));
        }
        let mut command = if self.in_container {
            let dir = self.at("container");
            std::fs::create_dir_all(&dir)?;
            let mut command = tokio::process::Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]);
            command.args(["--", "sh", "-c", INIT, CONTAINER]);
            command.arg(dir).arg(&self.shim);
            command
        } else {
            tokio::process::Command::new(&self.shim)
        };
        command.args(args).args(more).kill_on_drop(true);
        let mut running = Box::pin(command.output());
        let mut restarts = 0;
        loop {
            let mut byte = [0; 1];
            tokio::select! {
                done = &mut running => return Ok((done?, restarts)),
                read = asked.read_exact(&mut byte) => {
                    read?;
                    restarts += 1;
                    // One that does not come up is what the command has to notice.
                    self.containerd.restart().await.ok();
                    answers.write_all(b"\n").await?;
                }
            }
        }
    }

    /// What a command that succeeded said.
    async fn done(&mut self, verb: &str, more: &[&str]) -> Result<(String, usize)> {
        if verb == "uninstall" {
            // It is refused as long as one is on its way to its end.
            let ended = || self.containerd.shims().is_empty();
            proc::until("the shims have ended", ended).await?;
        }
        let (done, restarts) = self.run(verb, more).await?;
        ensure!(done.status.success(), "{verb} {more:?}: {done:?}");
        Ok((String::from_utf8(done.stdout)?, restarts))
    }

    /// Why one that did not, did not.
    async fn refused(&mut self, verb: &str, more: &[&str]) -> Result<String> {
        let (done, _) = self.run(verb, more).await?;
        ensure!(done.status.code() == Some(1), "{verb} {more:?}: {done:?}");
        Ok(String::from_utf8(done.stderr)?)
    }

    /// Runs a pod with a Linux container.
    async fn pod(&self, handler: &str) -> Result<(Pod, CriContainer)> {
        let linux = images::linux()?;
        self.containerd.import_cri(&[&linux]).await?;
        let options = PodOptions {
            handler: Some(handler.to_owned()),
            ..PodOptions::default()
        };
        let cri = self.containerd.cri().await?;
        let pod = cri.run_pod("it", options).await?;
        let side = PodContainer::new("side", &linux).command(["/bin/sleep", "3600"]);
        let side = pod.run(side).await?;
        Ok((pod, side))
    }

    /// Removes a pod, and waits until its shim is gone.
    async fn remove(&self, pod: Pod) -> Result<()> {
        let before = self.containerd.shims().len();
        pod.remove().await?;
        proc::until("its shim has ended", || {
            self.containerd.shims().len() < before
        })
        .await
    }

    /// What lies in its directory of what a command may leave.
    fn left(&self) -> Vec<PathBuf> {
        let mut names = vec![
            self.at("bin"),
            self.at("noted"),
            self.at("conf.d/50-containerd-shim-wasm.toml"),
        ];
        names.retain(|path| path.exists());
        let here = std::fs::read_dir(self.containerd.dir())
            .into_iter()
            .flatten();
        let hidden = here.flatten().map(|entry| entry.path());
        names.extend(hidden.filter(|path| path.to_string_lossy().contains(".medley-")));
        names
    }
}

/// From a node without it to a pod by one command, and back with nothing left.
async fn whole_life(binary: PathBuf) -> Result<()> {
    let mut node = Node::start(binary).await?;
    let before = node.config()?;
    let (shown, restarts) = node.done("install", &["--dry-run"]).await?;
    assert!(shown.contains("\n+[plugins."), "{shown}");
    assert_eq!((restarts, node.left()), (0, vec![]));

    let (said, restarts) = node.done("install", &[]).await?;
    assert_eq!(restarts, 1, "{said}");
    assert!(!said.contains("was not checked"), "{said}");
    let (pod, side) = node.pod("wasm").await?;
    let exec = side.exec_sync(&["/bin/echo", "hello"], 10).await?;
    assert_eq!(exec.stdout, "hello\n");
    let (status, _) = node.done("status", &[]).await?;
    assert!(status.contains("shims:        1 running"), "{status}");
    let (said, restarts) = node.done("install", &[]).await?;
    assert!(
        said.contains("nothing to change") && restarts == 0,
        "{said}"
    );

    let said = node.refused("uninstall", &[]).await?;
    let shim = node.containerd.shims()[0].pid.to_string();
    assert!(said.contains(&shim) && said.contains("--force"), "{said}");
    node.remove(pod).await?;
    let (said, restarts) = node.done("uninstall", &[]).await?;
    assert_eq!((restarts, node.left()), (1, vec![]), "{said}");
    assert_eq!(node.config()?, before);
    let options = PodOptions {
        handler: Some("wasm".to_owned()),
        ..PodOptions::default()
    };
    let cri = node.containerd.cri().await?;
    assert!(
        cri.run_pod("it", options).await.is_err(),
        "it is still there"
    );
    node.containerd.close().await
}

#[tokio::test]
async fn it_is_installed_and_uninstalled_on_containerd_1_6() -> Result<()> {
    whole_life(debian::containerd("bookworm")?).await
}

#[tokio::test]
async fn it_is_installed_and_uninstalled_on_containerd_1_7() -> Result<()> {
    whole_life(debian::containerd("trixie")?).await
}

#[tokio::test]
async fn it_is_installed_and_uninstalled_on_containerd_2() -> Result<()> {
    whole_life(debian::containerd("testing")?).await
}

/// As a DaemonSet does it: with the node's root mounted, and in its pid namespace.
#[tokio::test]
async fn it_is_installed_on_the_node_from_a_container() -> Result<()> {
    let mut node = Node::start(Options::new(Runtime::Medley).binary).await?;
    node.in_container = true;
    let before = node.config()?;
    let (said, restarts) = node.done("install", &[]).await?;
    assert_eq!(restarts, 1, "{said}");
    assert!(
        said.contains("installed /host/") && !said.contains("was not checked"),
        "{said}"
    );
    let (pod, _) = node.pod("wasm").await?;
    let (status, _) = node.done("status", &[]).await?;
    assert!(status.contains("containerd:   runc, wasm"), "{status}");
    node.remove(pod).await?;
    node.done("uninstall", &[]).await?;
    assert_eq!((node.config()?, node.left()), (before, vec![]));
    node.containerd.close().await
}

/// Version 3, and a directory of files that the main one imports.
#[tokio::test]
async fn a_directory_of_imports_gets_a_file_and_the_main_one_stays() -> Result<()> {
    let mut node = Node::start(debian::containerd("testing")?).await?;
    let path = node.at("config.toml");
    let migrate = std::process::Command::new(&node.binary)
        .arg("--config")
        .arg(&path)
        .args(["config", "migrate"])
        .output()?;
    let migrated = String::from_utf8(migrate.stdout)?;
    assert!(migrated.starts_with("version = 3"), "{migrated}");
    std::fs::create_dir(node.at("conf.d"))?;
    let import = format!("imports = ['{}/*.toml']\n", node.at("conf.d").display());
    let lines = migrated.lines().filter(|line| !line.starts_with("imports"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = text.replacen("version = 3\n", &format!("version = 3\n{import}"), 1);
    std::fs::write(&path, &text)?;
    node.containerd.restart().await?;

    let (said, restarts) = node
        .done("install", &["--handler", "wasm", "--handler", "crun"])
        .await?;
    assert_eq!(restarts, 1, "{said}");
    assert_eq!(node.config()?, text);
    let ours = std::fs::read_to_string(node.at("conf.d/50-containerd-shim-wasm.toml"))?;
    assert!(ours.contains("use_local_image_pull = true"), "{ours}");
    for handler in ["crun", "runc"] {
        let (pod, _) = node.pod(handler).await?;
        node.remove(pod).await?;
    }
    node.done("uninstall", &[]).await?;
    assert_eq!((node.config()?, node.left()), (text, vec![]));
    node.containerd.close().await
}

/// containerd reads the new configuration and ends: everything is as it was, and containerd runs.
#[tokio::test]
async fn what_does_not_come_up_is_rolled_back() -> Result<()> {
    let refuse = r#"for config; do
            case $config in *.toml) ! grep -q runtimes.crun "$config" || exit 1;; esac
        done; exec "$0" "$@""#;
    let options = Options::new(Runtime::Medley).run_by(&["/bin/sh", "-c", refuse]);
    let mut node = Node::start_with(options).await?;
    let before = node.config()?;
    let (done, restarts) = node.run("install", &["--handler=crun", "--wait=1"]).await?;
    let said = String::from_utf8(done.stderr)?;
    assert_eq!((done.status.code(), restarts), (Some(1), 2), "{said}");
    assert!(
        said.contains("did not come up") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!((node.config()?, node.left()), (before, vec![]));
    node.containerd.cri().await?.version().await?;
    node.containerd.close().await
}

/// containerd says what is wrong before anything is changed, be it there already.
#[tokio::test]
async fn a_configuration_that_containerd_refuses_is_left_as_it_is() -> Result<()> {
    let mut node = Node::start(debian::containerd("bookworm")?).await?;
    let good = node.config()?;
    let bad = format!("{good}\n[stream_processors]\n  x = 3\n");
    std::fs::write(node.at("config.toml"), &bad)?;
    let said = node.refused("install", &[]).await?;
    let words = "containerd cannot read its configuration as it is now";
    assert!(said.contains(words), "{said}");
    assert_eq!((node.config()?, node.left()), (bad, vec![]));
    std::fs::write(node.at("config.toml"), &good)?;
    node.containerd.close().await
}

/// Pods that run keep the program that they were started with.
#[tokio::test]
async fn an_upgrade_leaves_running_pods_alone() -> Result<()> {
    let mut node = Node::start(Options::new(Runtime::Medley).binary).await?;
    node.done("install", &[]).await?;
    let (old, side) = node.pod("wasm").await?;
    let shims = node.containerd.shims();
    // A later build, as far as its bytes tell.
    let newer = node.at("newer");
    let mut bytes = std::fs::read(&node.shim)?;
    bytes.push(0);
    std::fs::write(&newer, &bytes)?;
    std::fs::set_permissions(&newer, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    node.shim = newer;
    let (said, restarts) = node.done("install", &[]).await?;
    assert_eq!(restarts, 0, "{said}");
    let installed = std::fs::read(node.at("bin/containerd-shim-wasm-v1"))?;
    assert!(installed == bytes);
    let pids =
        |shims: Vec<leftovers::Process>| shims.iter().map(|shim| shim.pid).collect::<Vec<_>>();
    assert_eq!(pids(node.containerd.shims()), pids(shims));
    assert_eq!(
        side.exec_sync(&["/bin/echo", "hello"], 10).await?.stdout,
        "hello\n"
    );
    let said = node.refused("uninstall", &[]).await?;
    assert!(
        said.contains("1 shims run"),
        "of a file that was replaced: {said}"
    );
    node.remove(old).await?;
    let (new, _) = node.pod("wasm").await?;
    node.remove(new).await?;
    node.done("uninstall", &[]).await?;
    assert_eq!(node.left(), Vec::<PathBuf>::new());
    node.containerd.close().await
}

/// By a link's name the shim is for one engine: it says so, and a module gets that one.
#[tokio::test]
async fn an_alias_runs_modules_on_the_engine_that_it_names() -> Result<()> {
    let options = Options::new(Runtime::Medley).without(Engine::Wasmer);
    let mut node = Node::start_with(options.env("CONTAINERD_SHIM_WASM_ENGINE", "wasmtime")).await?;
    node.done("install", &["--handler", "crun-wasmer"]).await?;
    let info = std::process::Command::new(node.at("bin/containerd-shim-wasmer-v1"))
        .arg("-info")
        .output()?;
    assert!(String::from_utf8_lossy(&info.stdout).contains("io.containerd.wasmer.v1"));
    let image = images::wasm("hello", &guests::module("hello")?)?;
    let linux = images::linux()?;
    node.containerd.import(&[&image, &linux]).await?;
    let run = |image: &Image, command: &'static [&'static str]| {
        let mut words = vec!["run", "--rm", "--runtime", "io.containerd.wasmer.v1"];
        let name = image.name.clone();
        words.extend(["NAME", "x"]);
        words.extend(command);
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace("NAME", &name))
            .collect();
        let containerd = &node.containerd;
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            containerd.ctr(&words).await
        }
    };
    node.containerd
        .leftovers()
        .expect_gone(node.containerd.name(), "x");
    let done = run(&linux, &["/bin/echo", "hello"]).await?;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "hello\n", "{done:?}");
    let done = run(&image, &[]).await?;
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("wasmer"), "{said}");
    node.done("uninstall", &[]).await?;
    assert_eq!(node.left(), Vec::<PathBuf>::new());
    node.containerd.close().await
}
