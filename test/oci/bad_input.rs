//! What is refused, in the forms that callers of runc read.

use medley_test::*;
use serde_json::Value;
use std::path::Path;

/// The one line that a failing command has written to its log.
fn logged(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)?;
    ensure!(text.lines().count() == 1, "the log is {text:?}");
    Ok(serde_json::from_str(&text)?)
}

each_runtime! {
    async fn a_create_that_fails_leaves_nothing(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let log = oci.dir().join("log");
        let none = oci.script("none", "true", |spec| spec.args(["/nowhere"]))?;
        let hook = oci.script("hook", "true", |spec| {
            spec.edit(|json| {
                json["hooks"]["createRuntime"] = serde_json::json!([{"path": "/bin/false"}]);
            })
        })?;
        let mount = oci.script("mount", "true", |spec| {
            spec.bind(Path::new("/nowhere/on/the/host"), "/mnt", true)
        })?;
        for (id, bundle) in [("none", &none), ("hook", &hook), ("mount", &mount)] {
            std::fs::remove_file(&log).ok();
            let log_path = log.to_string_lossy();
            let args = ["--log", &log_path, "--log-format", "json", "create", "--bundle"];
            let mut command = oci.command(&args);
            command.arg(bundle).arg(id);
            let said = oci.start(command)?.wait()?;
            assert_eq!(said.code, 1, "{id}: {}", said.stderr);
            let line = logged(&log)?;
            assert_eq!(line["level"], "error", "{line}");
            let text = line["msg"].as_str().context("no msg")?;
            assert!(said.stderr.contains(text), "{}: {text}", said.stderr);
            assert!(line["time"].is_string());
            assert_eq!(oci.run(&["state", id])?.code, 1);
            assert_eq!(oci.left(), Vec::<String>::new(), "{id}");
        }
        oci.close()
    }

    async fn a_program_that_is_not_there_is_told_in_runcs_words(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "true", |spec| spec.args(["nowhere"]))?;
        let said = oci.run(&["run", "--bundle", &bundle.to_string_lossy(), "it"])?;
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("level=error"), "{}", said.stderr);
        assert!(said.stderr.contains("executable file not found in $PATH"), "{}", said.stderr);
        oci.close()
    }

    async fn wrong_arguments_are_refused(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        for (args, words) in [
            (["state", "missing"].as_slice(), "does not exist"),
            (&["kill", "missing", "KILL"], "does not exist"),
            (&["delete", "missing"], "does not exist"),
            (&["create", "a/b"], ""),
            (&["create"], ""),
            (&["start"], ""),
            (&["nonsense"], ""),
            (&["create", "--nonsense", "it"], ""),
            (&["create", "--bundle", "/nowhere", "it"], "no such file or directory"),
        ] {
            let said = oci.run(args)?;
            assert!(said.code != 0, "{args:?}");
            assert!(said.stderr.to_lowercase().contains(words), "{args:?}: {}", said.stderr);
        }
        oci.close()
    }
}

/// runc has these, and it is said that Medley does not.
#[tokio::test]
async fn what_is_not_offered_says_so() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    for command in ["checkpoint", "restore"] {
        let said = oci.run(&[command, "it"])?;
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("is not supported"), "{}", said.stderr);
    }
    oci.close()
}
