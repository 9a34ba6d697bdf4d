//! Spin applications that can't be run, each told in a sentence.

use crate::http::Server;
use crate::spin::{SHOP, image};
use containerd_client::tonic::Code;
use medley_test::client::{process, refused_with};
use medley_test::stdio::Stdin;
use medley_test::*;

/// What a start of an application is refused with.
async fn refused(client: &Client, containerd: &Containerd, manifest: &str) -> Result<String> {
    let image = image("spin-bad", manifest)?.entrypoint(["/"]).build()?;
    containerd.import(&[&image]).await?;
    let spec = client.spec(&image, "it").env("PORT=8080");
    let status = client.refused("it", &image, spec).await?;
    Ok(status.message().to_owned())
}

#[tokio::test]
async fn an_application_that_cannot_run_is_told_why() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let client = containerd.client().await?;
    let redis = "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"hello\"\n[[trigger.http]]";
    let cases = [
        (
            SHOP.replacen("[[trigger.http]]", redis, 1),
            "the application has a trigger of type \"redis\"; Medley has \"http\" and \"command\"",
        ),
        (
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n".to_owned(),
            "the application has no trigger: add one, such as [[trigger.http]]",
        ),
        (
            SHOP.replace("target/hello.wasm", "target/none.wasm"),
            "the source \"/target/none.wasm\" of the component \"hello\" is not in the image",
        ),
        (
            SHOP.replace("\"/gone\"", "\"/hello\""),
            "the route \"/hello\" is given twice",
        ),
        (
            SHOP.replace("spin_manifest_version = 2", "spin_manifest_version = 9"),
            "the application is in Spin's manifest format of version 9",
        ),
        (
            SHOP.to_owned(),
            "the variable \"secret\" has no value: set SPIN_VARIABLE_SECRET in the container's environment",
        ),
    ];
    for (manifest, expected) in cases {
        let said = refused(&client, &containerd, &manifest).await?;
        assert!(said.contains(expected), "no {expected:?} in {said:?}");
    }
    containerd.expect_clean()?;
    containerd.close().await?;
    Ok(())
}

/// It is what a container's own program is, and no program beside one.
#[tokio::test]
async fn an_exec_of_an_application_is_told_why_not() -> Result<()> {
    let image = image("spin", SHOP)?.entrypoint(["/"]).build()?;
    let server = Server::of(&image, &["SPIN_VARIABLE_SECRET=s"], |spec| spec).await?;
    for program in ["/spin.toml", "/"] {
        let refused = server
            .task
            .exec("e", process(&[program]), Stdin::None)
            .await;
        let text = refused_with(refused, Code::Unknown)?;
        let expected = "/spin.toml is a Spin application, which runs as a container's own program";
        assert!(text.contains(expected), "{program}: {text}");
    }
    server.stop().await?;
    Ok(())
}
