//! Terminals, whose masters go to the caller's socket.

use medley_test::oci::{read_until, receive};
use medley_test::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixListener;

each_runtime! {
    async fn the_master_is_sent_to_the_callers_socket(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let script = "tty; stty size; read line; echo got $line; exec sleep 3600";
        let bundle = oci.script("it", script, |spec| {
            spec.terminal().edit(|json| {
                json["process"]["consoleSize"] = serde_json::json!({"height": 30, "width": 100});
            })
        })?;
        let socket = oci.dir().join("console");
        let listener = UnixListener::bind(&socket)?;
        let mut command = oci.command(&["create", "--console-socket"]);
        command.arg(&socket).arg("--bundle").arg(&bundle).arg("it");
        let started = oci.start(command)?;
        let master = receive(&listener)?.pop().context("no descriptor came")?;
        started.wait()?.ok()?;
        oci.run(&["start", "it"])?.ok()?;
        let mut master = File::from(master);
        let seen = read_until(&mut master, "30 100")?;
        assert!(seen.contains("/dev/pts/0"), "{seen}");
        master.write_all(b"hello\n")?;
        read_until(&mut master, "got hello")?;

        let mut command = oci.command(&["exec", "--tty", "--detach", "--console-socket"]);
        command.arg(&socket).args(["it", "sh", "-c", "tty; sleep 3600"]);
        let started = oci.start(command)?;
        let second = receive(&listener)?.pop().context("no descriptor came")?;
        started.wait()?.ok()?;
        read_until(&mut File::from(second), "/dev/pts/1")?;
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }

    async fn a_terminal_needs_a_taker(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "true", Spec::terminal)?;
        let bundle = bundle.to_string_lossy();
        let said = oci.run(&["create", "--bundle", &bundle, "it"])?;
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("without setting console socket"), "{}", said.stderr);
        let nowhere = ["create", "--console-socket", "/nowhere", "--bundle", &bundle, "it"];
        assert_eq!(oci.run(&nowhere)?.code, 1);
        oci.close()
    }
}
