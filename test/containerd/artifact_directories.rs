//! A directory where an image's command is to be: of an artifact it means the only module.

use std::fs;

use medley_test::*;

const WASM: &str = "application/wasm";

#[tokio::test]
async fn a_command_of_a_directory_runs_the_artifacts_module() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ArtifactBuilder::new("files")
        .layer(WASM, guests::module("files")?)
        .build()?;
    containerd.import_packed(&[&image]).await?;
    let client = containerd.client().await?;
    let volume = containerd.dir().join("volume");
    fs::create_dir(&volume)?;
    fs::write(volume.join("kept"), "kept\n")?;
    for (number, command) in ["/", "/.", "//", ".", "/vol", "/vol/", ""]
        .into_iter()
        .enumerate()
    {
        let id = format!("it-{number}");
        let spec = client
            .spec(&image, &id)
            .args([command, "read", "/vol/kept"])
            .bind(&volume, "/vol", true);
        let done = client.run(&id, &image, spec).await?;
        let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
        assert_eq!(said, (0, "kept\n", ""), "{command:?}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_directory_of_an_ordinary_image_is_no_program() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = client.spec(&image, "it").args(["/"]);
    let refused = client.refused("it", &image, spec).await?;
    let sentence = r#"entrypoint "/" is a directory, not a file that can run"#;
    assert!(
        refused.message().contains(sentence),
        "{}",
        refused.message()
    );
    containerd.close().await
}
