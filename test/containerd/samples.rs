//! The sample images that Debian's packages can build, as their scripts make them.

use medley_test::images::read_layout;
use medley_test::runtime::workspace;
use medley_test::*;
use std::process::Command;

async fn says(sample: &str, args: &[&str], text: &str) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let archive = containerd.dir().join("sample.tar");
    let script = workspace().join("images").join(sample).join("build");
    let built = Command::new(&script).arg(&archive).output()?;
    ensure!(built.status.success(), "{}: {built:?}", script.display());
    let image = read_layout(&archive)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let args = image
        .args
        .iter()
        .map(String::as_str)
        .chain(args.iter().copied());
    let spec = client.spec(&image, "it").args(args);
    let done = client.run("it", &image, spec).await?;
    assert_eq!((done.code, done.stdout.as_str()), (0, text), "{done:?}");
    containerd.close().await
}

#[tokio::test]
async fn the_smallest_one_says_hello() -> Result<()> {
    says("tiny-wasm", &[], "hello\n").await
}

#[tokio::test]
async fn the_one_in_c_says_its_arguments() -> Result<()> {
    says(
        "hello-wasm",
        &["a b"],
        "hello from wasm32\nargument 1: a b\n",
    )
    .await
}
