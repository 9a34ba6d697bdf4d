//! Symbolic links of an image, and a process's streams by their names: as a Linux program of the
//! container finds them.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What a guest is told to do, and what it has to say of it.
type Step<'a> = (&'a [&'a str], &'a str);

const PERMISSION: &str = "Operation not permitted\n";
const MISSING: &str = "No such file or directory\n";

fn image(name: &str, wasm: &[u8]) -> Result<Image> {
    ImageBuilder::scratch(name)
        .file("/links.wasm", wasm, 0o644)
        .dir("/usr/share/ca", 0o755)
        .file("/usr/share/ca/a.pem", "pem\n", 0o644)
        .dir("/etc/ssl/certs", 0o755)
        .symlink("/etc/ssl/certs/a.pem", "/usr/share/ca/a.pem")
        .symlink("/etc/ssl/certs/chain", "second")
        .symlink("/etc/ssl/certs/second", "/etc/ssl/certs/third")
        .symlink("/etc/ssl/certs/third", "/etc/../etc/ssl/./certs/a.pem")
        .symlink("/etc/certs", "/etc/ssl/certs")
        .symlink("/etc/circle", "/etc/elcric")
        .symlink("/etc/elcric", "/etc/circle")
        .symlink("/etc/to-data", "/data")
        .symlink("/etc/to-file", "/data/file")
        .symlink("/etc/to-kept", "/kept/file")
        .symlink("/etc/to-new", "/data/made")
        .symlink("/etc/root", "/")
        .dir("/var/log", 0o755)
        .symlink("/var/log/access.log", "/dev/stdout")
        .symlink("/var/log/error.log", "/dev/stderr")
        .symlink("/var/log/none.log", "/dev/null")
        .symlink("/var/log/odd.log", "/proc/self/fd/1")
        .entrypoint(["/links.wasm"])
        .build()
}

/// A volume with a file, and links to what the image has and to what the host has.
fn volume(parent: &Path, name: &str) -> Result<std::path::PathBuf> {
    let volume = parent.join(name);
    std::fs::create_dir(&volume)?;
    std::fs::write(volume.join("file"), format!("{name}\n"))?;
    symlink("/etc/ssl/certs/a.pem", volume.join("back"))?;
    symlink("../usr/share/ca/a.pem", volume.join("up"))?;
    symlink(parent.join("secret"), volume.join("secret"))?;
    symlink("../secret", volume.join("beside"))?;
    symlink("/data/file", volume.join("across"))?;
    std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o777))?;
    Ok(volume)
}

/// Runs a guest that does all of it, beside two volumes of which one is only to be read.
async fn does(engine: Engine, wasm: Vec<u8>, steps: &[Step<'_>]) -> Result<()> {
    does_in("/", engine, wasm, steps).await
}

/// The same in a working directory.
async fn does_in(cwd: &str, engine: Engine, wasm: Vec<u8>, steps: &[Step<'_>]) -> Result<()> {
    let image = image("links", &wasm)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let parent = containerd.dir().join("volumes");
    std::fs::create_dir(&parent)?;
    std::fs::write(parent.join("secret"), "secret\n")?;
    let (data, kept) = (volume(&parent, "data")?, volume(&parent, "kept")?);
    let args = steps.iter().flat_map(|(args, _)| args.iter().copied());
    let spec = client
        .spec(&image, "it")
        .args(["/links.wasm"].into_iter().chain(args))
        .cwd(cwd)
        .bind(&data, "/data", false)
        .bind(&kept, "/kept", true);
    let done = client.run("it", &image, engine.runs(spec)).await?;
    assert_eq!(done.code, 0, "{done:?}");
    let said: Vec<_> = done.stderr.split_inclusive('\n').collect();
    assert_eq!(said.len(), steps.len(), "{done:?}");
    for ((step, wanted), said) in steps.iter().zip(said) {
        assert_eq!(said, *wanted, "{step:?}");
    }
    assert_eq!(std::fs::read_to_string(parent.join("secret"))?, "secret\n");
    assert_eq!(std::fs::read_to_string(kept.join("file"))?, "kept\n");
    containerd.close().await
}

const READ: &[Step<'static>] = &[
    (&["read", "/etc/ssl/certs/a.pem"], "pem\n"),
    (&["read", "/etc/ssl/certs/chain"], "pem\n"),
    (&["read", "/etc/certs/chain"], "pem\n"),
    (&["read", "/etc/root/usr/share/ca/a.pem"], "pem\n"),
    (&["stat", "/etc/ssl/certs/a.pem"], "file\n"),
    (&["lstat", "/etc/ssl/certs/a.pem"], "link\n"),
    (&["target", "/etc/ssl/certs/a.pem"], "/usr/share/ca/a.pem\n"),
    (&["target", "/etc/certs/a.pem"], "/usr/share/ca/a.pem\n"),
    (&["stat", "/etc/certs"], "folder\n"),
    (&["list", "/etc/certs"], "4\n"),
    (&["below", "/etc/ssl/certs", "a.pem"], "pem\n"),
    (&["below", "/etc/certs", "chain"], "pem\n"),
    // From the image to a volume, and back, and from one to the other.
    (&["read", "/etc/to-file"], "data\n"),
    (&["read", "/etc/to-data/back"], "pem\n"),
    (&["read", "/data/back"], "pem\n"),
    (&["read", "/data/up"], "pem\n"),
    (&["read", "/kept/across"], "data\n"),
    (&["read", "/etc/to-kept"], "kept\n"),
    // Nothing of the host.
    (&["read", "/data/secret"], MISSING),
    (&["stat", "/data/secret"], MISSING),
    (&["read", "/data/beside"], MISSING),
    (&["read", "/etc/to-data/beside"], MISSING),
    (&["read", "/etc/circle"], "Symbolic link loop\n"),
];

const CHANGE: &[Step<'static>] = &[
    (&["write", "/etc/to-file", "words"], "done\n"),
    (&["read", "/data/file"], "words\n"),
    (&["write", "/etc/to-new", "made"], "done\n"),
    (&["read", "/data/made"], "made\n"),
    (&["new", "/etc/to-new"], "File exists\n"),
    (&["make", "/etc/to-data/folder"], "done\n"),
    (&["stat", "/data/folder"], "folder\n"),
    (&["unmake", "/etc/to-data/folder"], "done\n"),
    (
        &["move", "/etc/to-data/made", "/etc/to-data/moved"],
        "done\n",
    ),
    (
        &["hard", "/etc/to-data/moved", "/etc/to-data/hard"],
        "done\n",
    ),
    (&["remove", "/etc/to-data/moved"], "done\n"),
    (&["read", "/data/hard"], "made\n"),
    // A link itself, and not what it leads to.
    (&["remove", "/data/across"], "done\n"),
    (&["read", "/data/file"], "words\n"),
    (&["soft", "/usr/share/ca/a.pem", "/data/own"], "done\n"),
    (&["target", "/data/own"], "/usr/share/ca/a.pem\n"),
    (&["read", "/data/own"], "pem\n"),
    (&["soft", "/etc", "/data/own"], "File exists\n"),
    (&["soft", "file", "/etc/to-data/near"], "done\n"),
    (&["read", "/data/near"], "words\n"),
    // What is only to be read stays so by every way.
    (&["write", "/etc/to-kept", "no"], PERMISSION),
    (&["soft", "/etc", "/kept/own"], PERMISSION),
    (&["read", "/kept/file"], "kept\n"),
];

#[tokio::test]
async fn a_module_reads_through_links_as_linux_does() -> Result<()> {
    does(Engine::Wasmtime, guests::module("links")?, READ).await
}

#[tokio::test]
async fn a_component_reads_through_links_as_linux_does() -> Result<()> {
    does(Engine::Wasmtime, guests::component("links")?, READ).await
}

#[tokio::test]
async fn a_module_changes_files_through_links_as_linux_does() -> Result<()> {
    does(Engine::Wasmtime, guests::module("links")?, CHANGE).await
}

#[tokio::test]
async fn a_component_changes_files_through_links_as_linux_does() -> Result<()> {
    does(Engine::Wasmtime, guests::component("links")?, CHANGE).await
}

/// From a working directory, which is a dir of its own for WASI.
const RELATIVE: &[Step<'static>] = &[
    (&["read", "ssl/certs/a.pem"], "pem\n"),
    (&["read", "./certs/chain"], "pem\n"),
    (&["target", "certs"], "/etc/ssl/certs\n"),
    (&["write", "to-file", "words"], "done\n"),
    (&["read", "/data/file"], "words\n"),
    (&["soft", "/data/file", "own"], "done\n"),
    (&["read", "own"], "words\n"),
];

#[tokio::test]
async fn a_module_follows_links_from_its_working_directory() -> Result<()> {
    let wasm = guests::module("links")?;
    does_in("/etc", Engine::Wasmtime, wasm, RELATIVE).await
}

#[tokio::test]
async fn a_component_follows_links_from_its_working_directory() -> Result<()> {
    let wasm = guests::component("links")?;
    does_in("/etc", Engine::Wasmtime, wasm, RELATIVE).await
}

/// Runs a guest that does all of it, with something on its stdin, and gives its output.
async fn streams(wasm: Vec<u8>, steps: &[&str]) -> Result<Finished> {
    let image = image("links", &wasm)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let args = ["/links.wasm"].into_iter().chain(steps.iter().copied());
    let spec = client.spec(&image, "it").args(args);
    let container = client.create("it", &image, spec).await?;
    let mut task = container.start(Stdin::Open).await?;
    let mut stdin = task.stdin().await?;
    std::io::Write::write_all(&mut stdin, b"typed\n")?;
    drop(stdin);
    let code = task.wait().await?;
    let (stdout, stderr) = task.output().await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await?;
    Ok(Finished {
        code,
        stdout,
        stderr,
    })
}

async fn streams_by_name(wasm: Vec<u8>) -> Result<()> {
    let done = streams(
        wasm,
        &[
            "write",
            "/dev/stdout",
            "one",
            "append",
            "/var/log/access.log",
            "two",
            "append",
            "/var/log/odd.log",
            "three",
            "write",
            "/dev/fd/1",
            "four",
            "write",
            "/var/log/error.log",
            "five",
            "append",
            "/dev/stderr",
            "six",
            "write",
            "/dev/null",
            "seven",
            "write",
            "/var/log/none.log",
            "eight",
            "read",
            "/dev/stdin",
            "new",
            "/dev/stdout",
            "stat",
            "/dev/stdout",
            "lstat",
            "/dev/stdout",
            "read",
            "/dev/null",
            "stat",
            "/dev/zero",
            "list",
            "/dev/stdout",
            "read",
            "/dev/fd/9",
            "reopen",
            "/var/log/access.log",
            "nine",
        ],
    )
    .await?;
    assert_eq!(done.stdout, "one\ntwo\nthree\nfour\nnine\n", "{done:?}");
    let expected = "done\ndone\ndone\ndone\nfive\ndone\nsix\ndone\ndone\ndone\ntyped\nFile exists\n\
                    other\nlink\nother\nNot a directory\nNo such file or directory\ndone\n";
    assert_eq!((done.code, done.stderr.as_str()), (0, expected));
    Ok(())
}

#[tokio::test]
async fn a_module_opens_its_streams_by_name() -> Result<()> {
    streams_by_name(guests::module("links")?).await
}

#[tokio::test]
async fn a_component_opens_its_streams_by_name() -> Result<()> {
    streams_by_name(guests::component("links")?).await
}
