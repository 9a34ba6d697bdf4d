//! conmon, called as CRI-O calls it, and the runtime's commands as CRI-O gives them.

use crate::linux;
use medley_test::docker::CommandOutput;
use medley_test::podman::Podman;
use medley_test::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A container of CRI-O's: its dirs and its files.
struct Crio<'a> {
    podman: &'a Podman,
    dir: PathBuf,
}

impl<'a> Crio<'a> {
    /// Makes a bundle whose init runs `script`.
    fn new(podman: &'a Podman, script: &str) -> Result<Self> {
        let this = Self {
            podman,
            dir: podman.dir().join("crio"),
        };
        for part in ["bundle/rootfs", "exits", "persist", "sockets"] {
            std::fs::create_dir_all(this.path(part))?;
        }
        let image = linux()?;
        image.unpack(&this.path("bundle/rootfs"))?;
        let args = ["/bin/sh", "-c", script];
        let spec = Spec::of(&image, podman.name(), ID).args(args);
        let spec = spec.edit(|spec| spec["root"] = json!({"path": "rootfs"}));
        std::fs::write(this.path("bundle/config.json"), spec.json().to_string())?;
        Ok(this)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// A shell script, with `$dir` and `$runtime` set, in the namespaces.
    async fn sh(&self, script: &str) -> Result<CommandOutput> {
        let mut command = self.podman.inside("sh");
        command.args(["-c", script]);
        command.env("dir", &self.dir);
        command.env("runtime", self.podman.program());
        command.env("id", ID);
        docker::finish(command, None).await
    }

    /// The runtime's own command, as CRI-O gives it; fails if that fails.
    async fn runtime(&self, words: &str) -> Result<String> {
        let said = self
            .sh(&format!("$runtime --root=$dir/root {words}"))
            .await?;
        said.text().with_context(|| words.to_owned())
    }

    /// What conmon wrote for CRI-O on the pipe of this name.
    fn sync(&self, file: &str) -> Result<Value> {
        let text = std::fs::read_to_string(self.path(file))?;
        let line = text.lines().last().context("conmon has written nothing")?;
        Ok(serde_json::from_str(line)?)
    }

    async fn create(&self) -> Result<u64> {
        let said = self
            .sh(
                "_OCI_SYNCPIPE=3 conmon -b $dir/bundle -c $id -u $id -n it --exit-dir $dir/exits \
                 -l $dir/log --log-level info -P $dir/conmon.pid -p $dir/pid --persist-dir $dir/persist \
                 -r $runtime --runtime-arg --root=$dir/root --socket-dir-path $dir/sockets --full-attach \
                 3>$dir/created",
            )
            .await?;
        said.text().context("conmon")?;
        proc::until("conmon has told the pid", || self.sync("created").is_ok()).await?;
        let told = self.sync("created")?;
        let pid = told["pid"].as_u64().filter(|pid| *pid > 0);
        pid.with_context(|| format!("conmon tells {told}"))
    }

    /// ExecSync: its exit code.
    async fn exec_sync(&self, script: &str) -> Result<i64> {
        let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin"]});
        std::fs::write(self.path("process.json"), process.to_string())?;
        let said = self
            .sh(
                "_OCI_SYNCPIPE=3 conmon -c $id -u $id -n it -r $runtime -p $dir/exec.pid -e -l $dir/exec.log \
                 --socket-dir-path $dir/sockets --log-level info --runtime-arg --root=$dir/root \
                 --exec-process-spec $dir/process.json --sync 3>$dir/exec",
            )
            .await?;
        ensure!(said.code >= 0, "conmon: {}", said.err);
        proc::until("conmon has told the code", || {
            self.sync("exec")
                .is_ok_and(|told| told["exit_code"].is_i64())
        })
        .await?;
        let code = self.sync("exec")?["exit_code"].as_i64();
        code.context("no exit code")
    }

    async fn status(&self) -> Result<String> {
        let state: Value = serde_json::from_str(&self.runtime("state $id").await?)?;
        Ok(state["status"].as_str().unwrap_or_default().to_owned())
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

each_podman! {
    async fn a_container_of_crio_lives_by_conmon(podman: &Podman) -> Result<()> {
        let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let crio = Crio::new(podman, script)?;
        crio.create().await?;
        assert_eq!(crio.status().await?, "created");
        crio.runtime("start $id").await?;
        let log = crio.path("log");
        proc::until("it is up", || text(&log).ends_with("stdout F up\n")).await?;
        assert_eq!(crio.status().await?, "running");
        assert_eq!(crio.exec_sync("echo in; exit 9").await?, 9);
        assert!(text(&crio.path("exec.log")).ends_with("stdout F in\n"));
        crio.runtime("update --resources - $id <<'R'\n{\"pids\": {\"limit\": 33}}\nR").await?;
        crio.runtime("pause $id").await?;
        assert_eq!(crio.status().await?, "paused");
        crio.runtime("resume $id").await?;
        crio.runtime("kill $id TERM").await?;
        let exit = crio.path("exits").join(ID);
        proc::until("conmon has told the end", || text(&exit) == "7").await?;
        assert!(text(&log).ends_with("stdout F bye\n"));
        assert_eq!(crio.status().await?, "stopped");
        crio.runtime("delete --force $id").await?;
        assert_eq!(crio.runtime("list -q").await?, "");
        Ok(())
    }

    async fn crio_is_told_why_a_container_cannot_be_made(podman: &Podman) -> Result<()> {
        let crio = Crio::new(podman, "true")?;
        let config = crio.path("bundle/config.json");
        std::fs::write(&config, text(&config).replace("/bin/sh", "/bin/nope"))?;
        let error = crio.create().await.err().context("it is made, which it must not")?;
        let error = format!("{error:#}");
        assert!(error.contains("/bin/nope") && error.contains("no such file"), "{error}");
        assert_eq!(crio.runtime("list -q").await?, "");
        Ok(())
    }
}
