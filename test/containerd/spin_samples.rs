//! Spin applications on two releases of containerd, as images and as artifacts.

use crate::http::Server;
use medley_test::spin::{ENV, applications, options};
use medley_test::{debian, *};
use std::path::PathBuf;

async fn serve(binary: PathBuf, expected: &str) -> Result<()> {
    let mut containerd = Containerd::start_with(options(binary)).await?;
    let version = containerd.cri().await?.version().await?;
    assert!(version.contains(expected), "{version} is not {expected}");
    let env = ENV.map(|(name, value)| format!("{name}={value}"));
    let env: Vec<_> = env.iter().map(String::as_str).collect();
    for application in applications()? {
        containerd.import(&[&application.image]).await?;
        containerd.import_packed(&[&application.artifact]).await?;
        for (form, image) in [
            ("image", &application.image),
            ("artifact", &application.artifact),
        ] {
            let state = containerd
                .dir()
                .join(format!("{}-{form}", application.name));
            std::fs::create_dir(&state)?;
            let volume = |spec: Spec| spec.bind(&state, "/state", false);
            let server = Server::on(containerd, image, &env, volume).await?;
            let checked = application.check(server.address).await;
            checked.with_context(|| form)?;
            containerd = server.stopped().await?;
            assert!(state.join("sqlite_key_value.db").is_file(), "{form}");
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn applications_run_in_both_forms_on_containerd_1_7() -> Result<()> {
    serve(debian::containerd("trixie")?, "1.7.").await
}

#[tokio::test]
async fn applications_run_in_both_forms_on_containerd_2() -> Result<()> {
    serve(debian::containerd("testing")?, "2.").await
}
