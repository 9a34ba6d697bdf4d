//! Wasm containers by command line: decided on as the shim decides, from the same cache.

use medley_test::*;

fn bundle(oci: &Oci, id: &str, guest: &str, change: impl FnOnce(Spec) -> Spec) -> Result<String> {
    let image = images::wasm(guest, &guests::module(guest)?)?;
    let spec = change(oci.spec(&image, id));
    Ok(oci
        .bundle(id, &image, &spec)?
        .to_string_lossy()
        .into_owned())
}

#[tokio::test]
async fn a_guest_runs_and_is_compiled_once() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let path = bundle(&oci, "it", "hello", |spec| spec)?;
    for _ in 0..2 {
        let said = oci.run(&["run", "--bundle", &path, "it"])?;
        assert!(said.ok()?.to_lowercase().contains("hello"));
    }
    let compiled = std::fs::read_dir(oci.dir().join("cache/code"))?.count();
    assert_eq!(compiled, 1);
    oci.close()
}

#[tokio::test]
async fn a_guest_goes_through_every_state() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let path = bundle(&oci, "it", "sleep", |spec| {
        spec.annotation("run.oci.handler", "wasm")
    })?;
    oci.create("it", path.as_ref())?;
    assert_eq!(oci.state("it")?["status"], "created");
    oci.run(&["start", "it"])?.ok()?;
    assert_eq!(oci.state("it")?["status"], "running");
    oci.run(&["kill", "it", "TERM"])?.ok()?;
    oci.until("it", "stopped").await?;
    oci.run(&["delete", "it"])?.ok()?;
    oci.close()
}

#[tokio::test]
async fn a_guests_exit_status_is_that_of_run() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let path = bundle(&oci, "it", "trap", |spec| spec)?;
    let said = oci.run(&["run", "--bundle", &path, "it"])?;
    assert_eq!(said.code, 134, "{}", said.stderr);
    oci.close()
}
