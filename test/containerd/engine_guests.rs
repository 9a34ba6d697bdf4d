//! An image with the guests that are run on several engines.

use medley_test::*;

/// A module that needs a plugin of the project's own.
const NEURAL: &str = r#"(module (import "wasi_nn" "load" (func)) (func (export "_start")))"#;

/// An image with the guests, a dir to write to and one with a note.
fn image() -> Result<Image> {
    let mut image = ImageBuilder::scratch("zoo")
        .dir("/data", 0o777)
        .dir("/etc", 0o755)
        .file("/etc/note", "a note\n", 0o644)
        .file("/data/note", "a note of data\n", 0o644)
        .env("COLOUR=blue");
    for name in [
        "hello",
        "exit",
        "env",
        "files",
        "cat",
        "trap",
        "spin",
        "exports",
        "numbers",
        "unreachable",
        "tick",
        "deep",
        "sockets",
        "unknown-import",
        "answer",
        "grow",
        "wasix",
        "wasix-threads",
    ] {
        image = image.file(&format!("/{name}.wasm"), guests::module(name)?, 0o644);
    }
    image
        .file("/component.wasm", guests::component("hello")?, 0o644)
        .file("/nn.wasm", wat::parse_str(NEURAL)?, 0o644)
        .file(
            "/text.wat",
            std::fs::read(guests::source_dir().join("exports.wat"))?,
            0o644,
        )
        .entrypoint(["/hello.wasm"])
        .build()
}

/// A containerd with the zoo, for an engine whose program is there.
pub(crate) async fn with_guests(engine: Engine, options: Options) -> Result<(Containerd, Image)> {
    engine.program()?;
    let containerd = Containerd::start_with(options).await?;
    let image = image()?;
    containerd.import(&[&image]).await?;
    Ok((containerd, image))
}
