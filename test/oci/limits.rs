//! Limits, what is used, and other limits for a container that runs.

use medley_test::*;
use serde_json::{Value, json};

each_runtime! {
    async fn limits_are_changed_and_use_is_told(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "exec sleep 3600", |spec| {
            spec.edit(|json| {
                json["linux"]["resources"]["memory"] = json!({"limit": 67_108_864});
                json["linux"]["resources"]["pids"] = json!({"limit": 50});
            })
        })?;
        oci.create("it", &bundle)?;
        oci.run(&["start", "it"])?.ok()?;
        let stats = || -> Result<Value> {
            let stats: Value = serde_json::from_str(&oci.run(&["events", "--stats", "it"])?.ok()?)?;
            assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!("it")));
            Ok(stats["data"].clone())
        };
        let data = stats()?;
        assert_eq!(data["memory"]["usage"]["limit"], 67_108_864);
        assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{data}");
        assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
        assert_eq!(data["pids"]["limit"], 50);
        oci.run(&["update", "--memory", "33554432", "--pids-limit", "20", "it"])?.ok()?;
        let data = stats()?;
        assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
        assert_eq!(data["pids"]["limit"], 20);
        let file = oci.dir().join("resources.json");
        std::fs::write(&file, json!({"pids": {"limit": 30}}).to_string())?;
        oci.run(&["update", "-r", &file.to_string_lossy(), "it"])?.ok()?;
        assert_eq!(stats()?["pids"]["limit"], 30);
        let log = oci.dir().join("update.log");
        oci.run(&["--log", &log.to_string_lossy(), "update", "--kernel-memory", "1048576", "it"])?.ok()?;
        let log = std::fs::read_to_string(log)?.to_lowercase();
        assert!(log.contains("level=warning") && log.contains("kernel"), "{log}");
        oci.run(&["delete", "--force", "it"])?.ok()?;
        oci.close()
    }
}
