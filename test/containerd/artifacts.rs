//! Images whose layers are Wasm: from containerd's content store to a running guest.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use medley_test::client::process;
use medley_test::shim::{Bench, status};
use medley_test::stdio::Stdin;
use medley_test::{debian, *};

const WASM: &str = "application/wasm";

/// The media types of layers that are modules, and whether runtimes keep components under them.
const MEDIA_TYPES: [(&str, bool); 4] = [
    (WASM, true),
    (
        "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
        true,
    ),
    ("application/vnd.wasm.content.layer.v1+wasm", false),
    ("application/vnd.module.wasm.content.layer.v1+wasm", false),
];

pub(crate) fn gzip(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An artifact of one module, whose containers are started with `/hello.wasm`.
fn artifact(name: &str, module: &[u8]) -> Result<Image> {
    ArtifactBuilder::new(name)
        .layer(WASM, module)
        .entrypoint(["/hello.wasm"])
        .build()
}

/// Runs the image, which has to say hello.
async fn says_hello(containerd: &Containerd, id: &str, image: &Image) -> Result<()> {
    let done = containerd.client().await?.run_image(id, image).await?;
    let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
    assert_eq!(said, (0, "hello\n", ""), "{}", image.name);
    Ok(())
}

/// Has Medley refuse the image, and gives its sentence.
async fn refusal(containerd: &Containerd, image: &Image) -> Result<String> {
    let client = containerd.client().await?;
    let refused = client
        .refused("it", image, client.spec(image, "it"))
        .await?;
    containerd.expect_clean()?;
    Ok(refused.message().to_owned())
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    assert!(!text.contains('\n'), "more than a sentence: {text}");
}

/// The file of a blob in the content store.
fn blob(containerd: &Containerd, digest: &str) -> PathBuf {
    let blobs = containerd
        .dir()
        .join("root/io.containerd.content.v1.content/blobs/sha256");
    blobs.join(digest.trim_start_matches("sha256:"))
}

async fn every_media_type(binary: PathBuf, expected: &str) -> Result<()> {
    let containerd = Containerd::start_with(Options {
        binary,
        ..Options::new(Runtime::Medley)
    })
    .await?;
    let version = containerd.cri().await?.version().await?;
    assert!(version.contains(expected), "{version} is not {expected}");
    let (module, component) = (guests::module("hello")?, guests::component("hello")?);
    let mut images = Vec::new();
    for (media_type, components) in MEDIA_TYPES {
        for data in [&module, &component]
            .into_iter()
            .take(1 + usize::from(components))
        {
            for (suffix, data) in [
                ("", data.clone()),
                ("+gzip", gzip(data)?),
                ("+zstd", zstd(data)),
                // Packed, and called as if it were not.
                ("", gzip(data)?),
            ] {
                let image = ArtifactBuilder::new(&format!("a{}", images.len()))
                    .layer(&format!("{media_type}{suffix}"), data)
                    .entrypoint(["/hello.wasm"]);
                // Both kinds of config, in turns.
                let image = if images.len() % 2 == 0 {
                    image.build()?
                } else {
                    image.image_config("wasip1/wasm").build()?
                };
                images.push(image);
            }
        }
    }
    containerd
        .import_packed(&images.iter().collect::<Vec<_>>())
        .await?;
    for (n, image) in images.iter().enumerate() {
        says_hello(&containerd, &format!("c{n}"), image).await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn every_media_type_runs_on_containerd_1_6() -> Result<()> {
    every_media_type(debian::containerd("bookworm")?, "1.6.").await
}

#[tokio::test]
async fn every_media_type_runs_on_containerd_1_7() -> Result<()> {
    every_media_type(debian::containerd("trixie")?, "1.7.").await
}

#[tokio::test]
async fn every_media_type_runs_on_containerd_2() -> Result<()> {
    every_media_type(debian::containerd("testing")?, "2.").await
}

#[tokio::test]
async fn the_entrypoint_picks_one_of_several_components() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ArtifactBuilder::new("several")
        .layer(WASM, guests::component("hello")?)
        .titled("bin/hello.wasm")
        .layer(WASM, guests::module("exit-with-code")?)
        .titled("exit.wasm")
        .layer("application/vnd.example.data", "data")
        .titled("data.bin")
        .build()?;
    containerd.import_packed(&[&image]).await?;
    let client = containerd.client().await?;
    let run = async |args: &[&str]| {
        let spec = client.spec(&image, "it").args(args.iter().copied());
        client.run("it", &image, spec).await
    };
    assert_eq!(run(&["hello.wasm"]).await?.stdout, "hello\n");
    assert_eq!(run(&["/exit.wasm", "42"]).await?.code, 42);
    let digest = &image.layers()[1][..24];
    assert_eq!(run(&[digest, "43"]).await?.code, 43);
    let log = containerd.log();
    let plan = log.lines().find(|line| line.contains("plan id="));
    assert_says(
        plan.context("no plan is logged")?,
        &["passed over: ", "application/vnd.example.data"],
    );
    let spec = client.spec(&image, "it").args(["/neither"]);
    let refused = client.refused("it", &image, spec).await?;
    assert_says(
        refused.message(),
        &[
            "\"/neither\" does not tell which",
            "bin/hello.wasm",
            "exit.wasm",
        ],
    );
    containerd.close().await
}

#[tokio::test]
async fn a_layer_is_added_to_its_container_by_name_alone() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ArtifactBuilder::new("several")
        .layer(WASM, guests::module("spin")?)
        .titled("spin.wasm")
        .layer(WASM, guests::module("exit-with-code")?)
        .titled("exit.wasm")
        .entrypoint(["spin.wasm"])
        .build()?;
    containerd.import_packed(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it");
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let (code, _, _) = task.run_exec("x", process(&["exit.wasm", "7"])).await?;
    assert_eq!(code, 7);
    let added = task.exec("y", process(&["sh"]), Stdin::None).await;
    let text = format!("{:#}", added.expect_err("no layer is called sh"));
    assert!(text.contains("not found inside the container"), "{text}");
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn manifests_and_layers_are_read_once() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = artifact("hello", &gzip(&guests::module("hello")?)?)?;
    containerd.import_packed(&[&image]).await?;
    says_hello(&containerd, "first", &image).await?;
    // Only its native code is needed from here on, which was made of verified bytes.
    fs::remove_file(blob(&containerd, &image.layers()[0]))?;
    fs::remove_file(blob(&containerd, image.target()))?;
    says_hello(&containerd, "second", &image).await?;
    // Without the native code it has to be read, and is missed.
    fs::remove_dir_all(containerd.dir().join("cache/keys"))?;
    assert_says(&refusal(&containerd, &image).await?, &["sha256:"]);
    containerd.close().await
}

#[tokio::test]
async fn an_artifact_runs_where_the_cache_cannot_be_used() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = artifact("hello", &guests::module("hello")?)?;
    containerd.import_packed(&[&image]).await?;
    fs::write(containerd.dir().join("cache"), "a file")?;
    says_hello(&containerd, "first", &image).await?;
    says_hello(&containerd, "second", &image).await?;
    containerd.close().await
}

#[tokio::test]
async fn of_an_index_the_wasm_manifest_runs() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = guests::module("hello")?;
    for platform in ["wasi/wasm", "wasip1/wasm", "wasip2/wasm"] {
        let name = platform.replace('/', "-");
        let wasm = ArtifactBuilder::new("one")
            .image_config(platform)
            .layer(WASM, hello.clone())
            .entrypoint(["/hello.wasm"])
            .build()?;
        let other = artifact("two", b"not for this machine")?;
        let image = Image::index(&name, &[(platform, &wasm), ("windows/amd64", &other)])?;
        containerd.import_packed(&[&image]).await?;
        says_hello(&containerd, &name, &image).await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn of_an_index_the_nodes_own_manifest_comes_first() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let own = artifact("own", &guests::module("hello")?)?;
    let wasm = artifact("wasm", &guests::module("trap")?)?;
    let node = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        _ => "linux/arm64",
    };
    let image = Image::index("both", &[("wasi/wasm", &wasm), (node, &own)])?;
    containerd.import_packed(&[&image]).await?;
    says_hello(&containerd, "it", &image).await?;
    containerd.close().await
}

#[tokio::test]
async fn an_image_without_wasm_is_refused_with_what_it_has() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ArtifactBuilder::new("other")
        .layer("application/vnd.example.words.v1+json", "{}")
        .entrypoint(["/hello.wasm"])
        .build()?;
    containerd.import_packed(&[&image]).await?;
    let text = refusal(&containerd, &image).await?;
    assert_says(
        &text,
        &[
            "entrypoint \"/hello.wasm\" not found",
            "medley.test/other:latest",
            "application/vnd.example.words.v1+json",
            "no media type of Wasm",
        ],
    );
    containerd.close().await
}

#[tokio::test]
async fn a_layer_of_other_content_is_refused() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let text = artifact("text", b"(module)")?;
    containerd.import_packed(&[&text]).await?;
    let said = refusal(&containerd, &text).await?;
    assert_says(
        &said,
        &[
            "cannot run the layer sha256:",
            WASM,
            "it begins with 28 6d 6f",
        ],
    );
    containerd.close().await
}

#[tokio::test]
async fn a_damaged_blob_is_refused() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = guests::module("hello")?;
    let image = artifact("hello", &hello)?;
    containerd.import_packed(&[&image]).await?;
    let layer = blob(&containerd, &image.layers()[0]);
    let mut other = hello.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    // What is behind the bytes that it knows of, containerd does not give.
    for content in [&other[..], &hello[..last]] {
        fs::remove_file(&layer)?;
        fs::write(&layer, content)?;
        let text = refusal(&containerd, &image).await?;
        assert_says(
            &text,
            &[
                "is damaged in containerd's content store",
                "pull the image again",
            ],
        );
    }
    // Nor is a manifest believed that is not what its name says. The other one is known by now.
    let image = artifact("other", &guests::module("sleep")?)?;
    containerd.import_packed(&[&image]).await?;
    let manifest = blob(&containerd, image.target());
    let text = fs::read_to_string(&manifest)?;
    fs::remove_file(&manifest)?;
    fs::write(&manifest, text.replace(WASM, "application/WASM"))?;
    let text = refusal(&containerd, &image).await?;
    assert_says(
        &text,
        &[
            "\"/hello.wasm\" not found",
            "is damaged in containerd's content store",
        ],
    );
    assert!(
        !containerd.dir().join("cache/keys").exists(),
        "something was compiled"
    );
    containerd.close().await
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_named() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = artifact("hello", &guests::module("hello")?)?;
    containerd.import_packed(&[&image]).await?;
    let layer = &image.layers()[0];
    let done = containerd.ctr(&["content", "rm", layer]).await?;
    assert!(done.status.success(), "{done:?}");
    let text = refusal(&containerd, &image).await?;
    assert_says(
        &text,
        &[
            layer,
            "is not in containerd's content store",
            "pull the image again",
        ],
    );
    containerd.close().await
}

#[tokio::test]
async fn an_image_that_is_not_there_any_more_is_named() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = artifact("hello", &guests::module("hello")?)?;
    let text = refusal(&containerd, &image).await?;
    assert_says(
        &text,
        &["containerd has no image \"medley.test/hello:latest\" in its namespace"],
    );
    containerd.close().await
}

#[tokio::test]
async fn packed_layers_that_are_cut_or_too_large_are_refused() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = guests::module("hello")?;
    let packed = gzip(&hello)?;
    let cut = artifact("cut", &packed[..packed.len() / 2])?;
    let short = zstd(&hello);
    let cut_zstd = artifact("cut-zstd", &short[..short.len() / 2])?;
    let claims = ArtifactBuilder::new("claims")
        .layer(WASM, hello.clone())
        .claiming(1 << 40)
        .entrypoint(["/hello.wasm"])
        .build()?;
    let hides = ArtifactBuilder::new("hides")
        .layer(WASM, hello.clone())
        .claiming(8)
        .entrypoint(["/hello.wasm"])
        .build()?;
    // 513 MiB of nothing behind a module's head.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(b"\0asm\x01\0\0\0")?;
    let nothing = vec![0; 1 << 20];
    for _ in 0..513 {
        bomb.write_all(&nothing)?;
    }
    let bomb = artifact("bomb", &bomb.finish()?)?;
    containerd
        .import_packed(&[&cut, &cut_zstd, &claims, &hides, &bomb])
        .await?;
    for (image, words) in [
        (&cut, "it is gzip that is cut or damaged"),
        (&cut_zstd, "it is zstd that is cut or damaged"),
        (&claims, "has 1099511627776 bytes; the most that is read is"),
        (&hides, "longer than its descriptor says"),
        (&bomb, "more than 536870912 bytes are in it"),
    ] {
        let text = refusal(&containerd, image).await?;
        assert_says(&text, &["cannot run the layer sha256:", &image.name, words]);
    }
    containerd.close().await
}

/// Wasmtime's own native code of a guest, as this very binary would load it.
async fn native(containerd: &Containerd, guest: &str) -> Result<Vec<u8>> {
    let image = images::wasm(guest, &guests::module(guest)?)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    client.run_image("native", &image).await?;
    let entry = fs::read_dir(containerd.dir().join("cache/code"))?.next();
    Ok(fs::read(entry.context("nothing was compiled")??.path())?)
}

#[tokio::test]
async fn native_code_in_a_layer_or_in_the_rootfs_is_refused() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let native = native(&containerd, "exit-with-code").await?;
    let words = "native code of an image is never run";
    for (n, (media_type, _)) in MEDIA_TYPES.iter().enumerate() {
        let image = ArtifactBuilder::new(&format!("layer-{n}"))
            .layer(media_type, native.clone())
            .titled("exit.cwasm")
            .entrypoint(["/exit.cwasm"])
            .build()?;
        containerd.import_packed(&[&image]).await?;
        assert_says(&refusal(&containerd, &image).await?, &["exit.cwasm", words]);
    }
    let client = containerd.client().await?;
    for (name, mode) in [("/exit.cwasm", 0o755), ("/exit.wasm", 0o644)] {
        let image = ImageBuilder::scratch("rootfs")
            .file(name, &native, mode)
            .entrypoint([name])
            .build()?;
        containerd.import(&[&image]).await?;
        for handler in ["", "wasmtime"] {
            let spec = client
                .spec(&image, "it")
                .annotation("run.oci.handler", handler);
            let refused = client.refused("it", &image, spec).await?;
            assert_says(refused.message(), &[name, words]);
        }
    }
    containerd.close().await
}

/// A label of the content store.
#[tokio::test]
async fn native_code_that_a_label_promises_is_not_taken() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let forged = native(&containerd, "trap").await?;
    let image = artifact("hello", &guests::module("hello")?)?;
    // The forged code lies in the store as a layer of an image of its own.
    let carrier = artifact("carrier", &forged)?;
    containerd.import_packed(&[&image, &carrier]).await?;
    let (layer, code) = (&image.layers()[0], &carrier.layers()[0]);
    for (blob, label) in [
        (layer, format!("runwasi.io/precompiled/wasmtime/48={code}")),
        (
            layer,
            format!("runwasi.io/precompiled/io.containerd.wasm.v1/48={code}"),
        ),
        (
            layer,
            format!("containerd.io/gc.ref.content.precompile.48={code}"),
        ),
        (code, "runwasi.io/precompiled=true".to_owned()),
    ] {
        let done = containerd.ctr(&["content", "label", blob, &label]).await?;
        assert!(done.status.success(), "{done:?}");
    }
    says_hello(&containerd, "first", &image).await?;
    says_hello(&containerd, "second", &image).await?;
    containerd.close().await
}

#[tokio::test]
async fn a_containerd_that_does_not_answer_is_named() -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let image = ImageBuilder::scratch("none")
        .entrypoint(["/none"])
        .build()?;
    let mut listener = None;
    for (id, words) in [
        ("gone", "cannot connect to containerd at "),
        ("mute", "does not answer within 10 s"),
    ] {
        if id == "mute" {
            // A client that connects is queued, and gets no reply.
            let socket = bench.ttrpc_address().replace(".ttrpc", "");
            listener = Some(std::os::unix::net::UnixListener::bind(socket)?);
        }
        let bundle = bench.bundle(id, &image)?;
        let spec = Spec::of(&image, bench.namespace(), id);
        fs::write(bundle.join("config.json"), serde_json::to_vec(spec.json())?)?;
        let shim = bench.start(id, &bundle).await?;
        let stdio = bench.stdio(id, Stdin::None)?;
        let created = shim.create(id, &bundle, &stdio).await;
        shim.shutdown(id).await;
        let error = created.expect_err("there is no such file");
        let (_, text) = status(&error).context("no answer of the shim")?;
        assert_says(
            &text,
            &["entrypoint \"/none\" not found", "Wasm layer", words],
        );
    }
    drop(listener);
    bench.close().await
}

/// Packs a guest as the sample script does, imports it as `ctr` does unless told otherwise, and
/// runs it.
async fn by_ctr(binary: PathBuf) -> Result<()> {
    let containerd = Containerd::start_with(Options {
        binary,
        ..Options::new(Runtime::Medley)
    })
    .await?;
    let module = containerd.dir().join("hello.wasm");
    fs::write(&module, guests::module("hello")?)?;
    let packed = containerd.dir().join("hello.tar");
    let name = "localhost/hello-artifact:latest";
    let script = runtime::workspace().join("images/pack-artifact");
    let done = tokio::process::Command::new(script)
        .arg(name)
        .args([&packed, &module])
        .output()
        .await?;
    assert!(done.status.success(), "{done:?}");
    let runtime = Runtime::Medley.name();
    for step in [
        &["image", "import", packed.to_str().context("an odd path")?][..],
        &["run", "--rm", "--runtime", runtime, name, "hello"],
    ] {
        containerd
            .leftovers()
            .expect_gone(containerd.name(), "hello");
        let done = containerd.ctr(step).await?;
        assert!(done.status.success(), "{step:?}: {done:?}");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(step[0] != "run" || said == "hello\n", "{said}");
    }
    containerd.close().await
}

#[tokio::test]
async fn ctr_runs_what_the_sample_script_packs_on_containerd_1_7() -> Result<()> {
    by_ctr(debian::containerd("trixie")?).await
}

#[tokio::test]
async fn ctr_runs_what_the_sample_script_packs_on_containerd_2() -> Result<()> {
    by_ctr(debian::containerd("testing")?).await
}
