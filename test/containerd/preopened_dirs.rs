//! The dirs of a guest: what it finds in them, and no way out of them.

use medley_test::*;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Runs the guest `name` with a dir of the host at /vol, which has a file `own` and a dir
/// `inner`, and beside which the host has a file `secret`. The image has the same files in its
/// root, and /etc/outside.
async fn beside_a_secret(
    engine: Engine,
    name: &str,
    wasm: Vec<u8>,
    args: &[&str],
    change: impl FnOnce(Spec, &Path) -> Spec,
    check: impl FnOnce(&Path, Finished) -> Result<()>,
) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let path = format!("/{name}.wasm");
    let image = ImageBuilder::scratch(name)
        .file(&path, wasm, 0o644)
        .dir("/etc", 0o755)
        .file("/etc/outside", "outside\n", 0o644)
        .file("/secret", "secret\n", 0o644)
        .file("/own", "own\n", 0o644)
        .dir("/inner", 0o755)
        .build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let parent = containerd.dir().join("parent");
    let volume = parent.join("volume");
    std::fs::create_dir_all(volume.join("inner"))?;
    std::fs::write(volume.join("own"), "own\n")?;
    std::fs::write(parent.join("secret"), "secret\n")?;
    let args = [path.as_str()].into_iter().chain(args.iter().copied());
    let spec = engine.runs(client.spec(&image, "it").args(args));
    let done = client.run("it", &image, change(spec, &volume)).await?;
    check(&volume, done)?;
    containerd.close().await
}

/// The guest has tried everything, and nothing worked.
fn assert_nothing_worked(done: &Finished) {
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "tried\n"),
        "{done:?}"
    );
}

async fn cannot_leave(engine: Engine, wasm: Vec<u8>) -> Result<()> {
    let bound = |spec: Spec, volume: &Path| spec.bind(volume, "/vol", false);
    let args = ["/vol", "../secret"];
    beside_a_secret(
        engine,
        "escape",
        wasm.clone(),
        &args,
        bound,
        |volume, done| {
            assert_nothing_worked(&done);
            let parent = volume.join("..");
            assert_eq!(std::fs::read_to_string(parent.join("secret"))?, "secret\n");
            let mut names: Vec<_> = std::fs::read_dir(parent)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<Result<_>>()?;
            names.sort();
            assert_eq!(names, ["secret", "volume"]);
            Ok(())
        },
    )
    .await?;
    let plain = |spec, _: &Path| spec;
    beside_a_secret(
        engine,
        "escape",
        wasm,
        &["/", "../secret"],
        plain,
        |_, done| {
            assert_nothing_worked(&done);
            Ok(())
        },
    )
    .await
}

/// The same of what is read-only. Of Wasmer a guest hears that it made symbolic links and set times,
/// which WASIX keeps in memory alone.
fn assert_nothing_changed(engine: Engine, done: &Finished) {
    let remembered = [
        "worked: make a symbolic link\n",
        "worked: set the times of what is open for reading\n",
        "worked: set times\n",
    ];
    let mut done = done.clone();
    if matches!(engine, Engine::Wasmer) {
        for line in remembered {
            done.stdout = done.stdout.replace(line, "");
        }
    }
    assert_nothing_worked(&done);
}

async fn cannot_change_what_is_read_only(engine: Engine, wasm: Vec<u8>) -> Result<()> {
    // By the mount's own preopen, and by way of the root's.
    for dir in ["/vol", "/inner/../vol"] {
        let times = std::cell::Cell::new(None);
        let modified = |volume: &Path| volume.join("own").metadata()?.modified();
        let bound = |spec: Spec, volume: &Path| {
            times.set(modified(volume).ok());
            spec.bind(volume, "/vol", true)
        };
        let args = [dir, "own", "change"];
        beside_a_secret(
            engine,
            "escape",
            wasm.clone(),
            &args,
            bound,
            |volume, done| {
                assert_nothing_changed(engine, &done);
                assert_eq!(std::fs::read_to_string(volume.join("own"))?, "own\n");
                assert_eq!(Some(modified(volume)?), times.get(), "its times");
                assert_eq!(std::fs::read_dir(volume)?.count(), 2);
                Ok(())
            },
        )
        .await?;
    }
    let sealed = |spec: Spec, _: &Path| spec.edit(|json| json["root"]["readonly"] = true.into());
    let args = ["/", "own", "change"];
    beside_a_secret(engine, "escape", wasm, &args, sealed, |_, done| {
        assert_nothing_changed(engine, &done);
        Ok(())
    })
    .await
}

/// What the guest makes is its user's, and what is another's is out of its reach.
async fn acts_as_its_user(engine: Engine, wasm: Vec<u8>) -> Result<()> {
    let given = |spec: Spec, volume: &Path| {
        let laid = std::fs::set_permissions(volume, Permissions::from_mode(0o777))
            .and_then(|()| std::fs::write(volume.join("private"), "private\n"))
            .and_then(|()| {
                std::fs::set_permissions(volume.join("private"), Permissions::from_mode(0o600))
            });
        assert!(laid.is_ok(), "{laid:?}");
        spec.bind(volume, "/vol", false).user(1000, 2000)
    };
    let write = ["write", "/vol/mine", "text"];
    beside_a_secret(
        engine,
        "files",
        wasm.clone(),
        &write,
        given,
        |volume, done| {
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
            let mine = volume.join("mine").metadata()?;
            assert_eq!((mine.uid(), mine.gid()), (1000, 2000));
            Ok(())
        },
    )
    .await?;
    for refused in [&["read", "/vol/private"][..], &["write", "/own", "mine"]] {
        beside_a_secret(engine, "files", wasm.clone(), refused, given, |_, done| {
            assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
            assert!(done.stderr.contains(refused[1]), "{done:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn has_clocks_and_random_numbers(engine: Engine, wasm: Vec<u8>) -> Result<()> {
    let now = || {
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map(|since| since.as_secs())
    };
    let before = now()?;
    let plain = |spec, _: &Path| spec;
    beside_a_secret(engine, "clocks", wasm, &[], plain, |_, done| {
        assert_eq!(done.code, 0, "{done:?}");
        let told = done.stdout.trim().parse::<u64>()?;
        assert!((before..=now()?).contains(&told), "{told}");
        Ok(())
    })
    .await
}

each_engine_but_wasmer! {
    async fn a_module_cannot_leave_its_dirs(engine: Engine) -> Result<()> {
        cannot_leave(engine, guests::module("escape")?).await
    }
}

each_engine! {
    async fn a_module_cannot_change_what_is_read_only(engine: Engine) -> Result<()> {
        cannot_change_what_is_read_only(engine, guests::module("escape")?).await
    }

    /// As kubelet lays a ConfigMap: links to a dir that is a link itself.
    async fn a_module_reads_a_config_map(engine: Engine) -> Result<()> {
        let laid = |spec: Spec, volume: &Path| {
            let dir = volume.join("..2026_01_01");
            let made = std::fs::create_dir(&dir)
                .and_then(|()| std::fs::write(dir.join("key"), "value\n"))
                .and_then(|()| symlink("..2026_01_01", volume.join("..data")))
                .and_then(|()| symlink("..data/key", volume.join("key")));
            assert!(made.is_ok(), "{made:?}");
            spec.bind(volume, "/vol", true)
        };
        let files = guests::module("files")?;
        beside_a_secret(engine, "files", files, &["read", "/vol/key"], laid, |_, done| {
            assert_eq!(done.stdout, "value\n", "{done:?}");
            Ok(())
        })
        .await
    }

    async fn a_module_has_clocks_and_random_numbers(engine: Engine) -> Result<()> {
        has_clocks_and_random_numbers(engine, guests::module("clocks")?).await
    }

    async fn a_module_acts_as_its_user(engine: Engine) -> Result<()> {
        acts_as_its_user(engine, guests::module("files")?).await
    }
}

#[tokio::test]
async fn a_component_cannot_leave_its_dirs() -> Result<()> {
    cannot_leave(Engine::Wasmtime, guests::component("escape")?).await
}

#[tokio::test]
async fn a_component_cannot_change_what_is_read_only() -> Result<()> {
    cannot_change_what_is_read_only(Engine::Wasmtime, guests::component("escape")?).await
}

#[tokio::test]
async fn a_component_has_clocks_and_random_numbers() -> Result<()> {
    has_clocks_and_random_numbers(Engine::Wasmtime, guests::component("clocks")?).await
}

#[tokio::test]
async fn a_component_acts_as_its_user() -> Result<()> {
    acts_as_its_user(Engine::Wasmtime, guests::component("files")?).await
}
