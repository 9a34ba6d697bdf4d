//! Calls on paths: what a guest is told of each, and what comes of it, against a Linux program of the
//! same source in a container of the same image.

use medley_test::*;
use serde_json::json;

/// Runs them in a tree on a tmpfs, as a user who may not go everywhere.
async fn said_of_each(client: &Client, image: &Image, program: &str) -> Result<Vec<String>> {
    let spec = client
        .spec(image, program)
        .args([&format!("/{program}"), "/data/work"])
        .user(1000, 1000)
        .edit(|json| {
            let data = json!({
                "destination": "/data", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "mode=1777"],
            });
            if let Some(mounts) = json["mounts"].as_array_mut() {
                mounts.push(data);
            }
        });
    let done = client.run(program, image, spec).await?;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{program}");
    Ok(done.stdout.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn calls_on_paths_are_answered_as_a_linux_program_is() -> Result<()> {
    let image = images::linux_builder("paths")?
        .file("/linux", programs::guest("paths")?, 0o755)
        .file("/module", guests::module("paths")?, 0o644)
        .file("/component", guests::component("paths")?, 0o644)
        .dir("/data", 0o755)
        .dir("/locked", 0o700)
        .file("/locked/file", "locked\n", 0o644)
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let right = said_of_each(&client, &image, "linux").await?;
    for guest in ["module", "component"] {
        let said = said_of_each(&client, &image, guest).await?;
        assert_eq!(said.len(), right.len(), "{guest}");
        let differ: Vec<_> = said
            .iter()
            .zip(&right)
            .filter(|(said, right)| said != right)
            .collect();
        assert!(
            differ.is_empty(),
            "{guest}: {} differ: {differ:#?}",
            differ.len()
        );
    }
    containerd.close().await
}
