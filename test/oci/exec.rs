//! Further processes by command line.

use medley_test::*;
use serde_json::json;
use std::path::PathBuf;

/// A container that sleeps.
fn sleeper(oci: &Oci) -> Result<PathBuf> {
    let bundle = oci.script("it", "exec sleep 3600", |spec| spec)?;
    oci.create("it", &bundle)?;
    oci.run(&["start", "it"])?.ok()?;
    Ok(bundle)
}

each_runtime! {
    async fn exec_has_its_options_and_gives_its_status(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        sleeper(&oci)?;
        let said = oci.run(&["exec", "it", "sh", "-c", "echo out; exit 3"])?;
        assert_eq!((said.code, said.stdout.as_str()), (3, "out\n"));
        let options = ["exec", "--cwd", "/tmp", "-e", "X=1", "--user", "7:8", "it"];
        let script = "echo $(pwd) $X $(id -u) $(id -g)";
        let said = oci.run(&[&options[..], &["sh", "-c", script]].concat())?;
        assert_eq!(said.ok()?, "/tmp 1 7 8\n");
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }

    async fn a_process_comes_from_a_file_and_stays_behind(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        sleeper(&oci)?;
        let (file, pid_file) = (oci.dir().join("process.json"), oci.dir().join("pid"));
        let process = json!({"cwd": "/", "args": ["/bin/sleep", "3600"], "user": {"uid": 0, "gid": 0}});
        std::fs::write(&file, process.to_string())?;
        let mut command = oci.command(&["exec", "--detach", "--process"]);
        command.arg(&file).arg("--pid-file").arg(&pid_file).arg("it");
        oci.start(command)?.wait()?.ok()?;
        let pid: u32 = std::fs::read_to_string(&pid_file)?.parse()?;
        assert!(proc::is_alive(pid));
        let pids = oci.run(&["ps", "--format", "json", "it"])?.ok()?;
        let pids: Vec<u32> = serde_json::from_str(&pids)?;
        assert!(pids.contains(&pid) && pids.len() == 2, "{pids:?}");
        let table = oci.run(&["ps", "it"])?.ok()?;
        assert_eq!(table.lines().count(), 3, "{table}");
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }

    async fn what_cannot_be_executed_ends_with_255(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = sleeper(&oci)?;
        for (program, words) in [("/nowhere", "no such file or directory"), ("nowhere", "executable file not found")] {
            let said = oci.run(&["exec", "it", program])?;
            assert_eq!(said.code, 255, "{}", said.stderr);
            assert!(said.stderr.contains(words), "{}", said.stderr);
        }
        oci.run(&["kill", "it", "KILL"])?.ok()?;
        oci.until("it", "stopped").await?;
        let said = oci.run(&["exec", "it", "true"])?;
        assert_eq!(said.code, 255, "{}", said.stderr);
        assert!(said.stderr.contains("stopped container"), "{}", said.stderr);
        drop(bundle);
        oci.run(&["delete", "it"])?.ok()?;
        oci.close()
    }

    async fn descriptors_are_passed_on(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let script = "cat <&3; cat <&4; ls /proc/self/fd | wc -l";
        let bundle = oci.script("it", script, |spec| spec)?;
        for name in ["three", "four"] {
            std::fs::write(oci.dir().join(name), format!("{name}\n"))?;
        }
        // A shell opens them by their numbers.
        let inner = oci.command(&["run", "--preserve-fds", "2", "--bundle"]);
        let mut command = std::process::Command::new("/bin/sh");
        let dir = oci.dir().display();
        command.arg("-c").arg(format!("exec \"$@\" 3<{dir}/three 4<{dir}/four")).arg("sh");
        command.arg(inner.get_program()).args(inner.get_args()).arg(&bundle).arg("it");
        let said = oci.start(command)?.wait()?;
        // Stdio, the two, and that of the listing.
        assert_eq!(said.ok()?, "three\nfour\n6\n");
        // runc takes descriptors of its own for the caller's.
        if runtime == Runtime::Medley {
            let bundle = bundle.to_string_lossy();
            let said = oci.run(&["run", "--preserve-fds", "2", "--bundle", &bundle, "it"])?;
            assert_eq!(said.code, 1, "{}", said.stderr);
        }
        oci.close()
    }
}
