//! What tools ask of a runtime before they use it.

use medley_test::*;
use serde_json::Value;

#[tokio::test]
async fn features_are_told_as_the_runtime_spec_has_them() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let features: Value = serde_json::from_str(&oci.run(&["features"])?.ok()?)?;
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert!(
        features["hooks"]
            .as_array()
            .is_some_and(|hooks| hooks.len() == 6)
    );
    assert!(features["annotations"]["io.containerd.wasm.v1.engines"].is_string());
    oci.close()
}

each_runtime! {
    async fn a_written_spec_is_one_that_runs(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let bundle = oci.script("it", "true", |spec| spec)?;
        std::fs::remove_file(bundle.join("config.json"))?;
        oci.run(&["spec", "--bundle", &bundle.to_string_lossy()])?.ok()?;
        assert_eq!(oci.run(&["spec", "--bundle", &bundle.to_string_lossy()])?.code, 1);
        let path = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = serde_json::json!(["/bin/echo", "it runs"]);
        std::fs::write(&path, spec.to_string())?;
        let said = oci.run(&["run", "--bundle", &bundle.to_string_lossy(), "it"])?;
        assert_eq!(said.ok()?, "it runs\n");
        oci.close()
    }

    async fn version_and_help_are_printed(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let said = oci.run(&["--version"])?.ok()?;
        assert!(said.contains(" version ") && said.contains("\nspec: "), "{said}");
        let said = oci.run(&["create", "--help"])?.ok()?;
        assert!(said.starts_with("NAME:") && said.contains("--console-socket"), "{said}");
        oci.close()
    }
}
