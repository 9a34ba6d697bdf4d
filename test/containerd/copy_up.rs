//! What a tmpfs has of the dir that it covers (`tmpcopyup`).

use medley_test::shim::Bench;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A bundle of a container `it` that runs a shell script on a rootfs with more files, with a tmpfs of
/// these options at `/fill`.
fn bundle(
    bench: &Bench,
    files: impl FnOnce(&Path) -> Result<()>,
    (options, change): (&[&str], impl FnOnce(&mut Value)),
    script: &str,
) -> Result<PathBuf> {
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    files(&bundle.join("rootfs"))?;
    let spec = Spec::of(&image, bench.namespace(), "it").args(["/bin/sh", "-c", script]);
    let spec = spec.edit(|json| {
        if let Some(mounts) = json["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": "/fill", "type": "tmpfs", "source": "tmpfs", "options": options,
            }));
        }
        change(json);
    });
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    Ok(bundle)
}

/// What such a container says. `check` looks at its rootfs after it.
async fn filled(
    runtime: Runtime,
    files: impl FnOnce(&Path) -> Result<()>,
    given: (&[&str], impl FnOnce(&mut Value)),
    script: &str,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<String> {
    let bench = Bench::new(runtime).await?;
    let bundle = bundle(&bench, files, given, script)?;
    let shim = bench.start("it", &bundle).await?;
    let mut stdio = bench.stdio("it", Stdin::None)?;
    shim.create("it", &bundle, &stdio).await?;
    shim.start("it").await?;
    let code = shim.wait("it").await?;
    let (stdout, stderr) = stdio.drain().await?;
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&stderr));
    check(&bundle.join("rootfs"))?;
    shim.delete("it").await?;
    shim.shutdown("it").await;
    bench.close().await?;
    Ok(String::from_utf8(stdout)?)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        PermissionsExt::from_mode(mode),
    )?)
}

each_runtime! {
    async fn what_the_image_has_there_is_in_the_tmpfs(runtime: Runtime) -> Result<()> {
        let files = |rootfs: &Path| {
            let fill = rootfs.join("fill");
            std::fs::create_dir_all(fill.join("a/deep"))?;
            std::fs::write(fill.join("a/file"), "of the image\n")?;
            chown(fill.join("a/file"), Some(7), Some(8))?;
            set_mode(&fill.join("a/file"), 0o4751)?;
            chown(fill.join("a"), Some(5), Some(6))?;
            set_mode(&fill.join("a"), 0o711)?;
            symlink("/etc/passwd", fill.join("a/link"))?;
            symlink("nowhere", fill.join("a/deep/dangling"))?;
            set_mode(&fill, 0o1777)
        };
        let check = |rootfs: &Path| {
            assert_eq!(std::fs::read_to_string(rootfs.join("fill/a/file"))?, "of the image\n");
            assert!(!rootfs.join("fill/new").exists());
            Ok(())
        };
        let script = "cd /fill; stat -c '%n %F %a %u:%g' . a a/file a/deep; \
            readlink a/link; readlink a/deep/dangling; cat a/file; grep -c ' /fill tmpfs' /proc/mounts; \
            echo changed > a/file; touch new; stat -f -c %b .";
        let options = ["nosuid", "nodev", "tmpcopyup", "size=64k"];
        let said = filled(runtime, files, (&options, |_| ()), script, check).await?;
        assert_eq!(
            said,
            ". directory 1777 0:0\na directory 711 5:6\na/file regular file 4751 7:8\n\
             a/deep directory 755 0:0\n/etc/passwd\nnowhere\nof the image\n1\n16\n"
        );
        Ok(())
    }

    async fn a_tmpfs_that_is_read_only_is_filled_as_well(runtime: Runtime) -> Result<()> {
        let files = |rootfs: &Path| {
            std::fs::create_dir(rootfs.join("fill"))?;
            Ok(std::fs::write(rootfs.join("fill/file"), "of the image\n")?)
        };
        let script = "cat /fill/file; touch /fill/x 2>/dev/null || echo read-only";
        let options = ["ro", "tmpcopyup"];
        let said = filled(runtime, files, (&options, |_| ()), script, |_| Ok(())).await?;
        assert_eq!(said, "of the image\nread-only\n");
        Ok(())
    }

    async fn a_dir_that_the_image_does_not_have_is_empty(runtime: Runtime) -> Result<()> {
        let options = ["tmpcopyup"];
        let given = (&options[..], |_: &mut Value| ());
        let said = filled(runtime, |_| Ok(()), given, "ls -A /fill; echo end", |_| Ok(()));
        assert_eq!(said.await?, "end\n");
        Ok(())
    }

    async fn a_link_of_the_image_leads_to_no_files_of_the_node(runtime: Runtime) -> Result<()> {
        let files = |rootfs: &Path| {
            // The path that the link says is one of the node, and not yet one of the rootfs.
            let host = rootfs.with_file_name("of-the-node");
            std::fs::create_dir(&host)?;
            std::fs::write(host.join("secret"), "of the node\n")?;
            Ok(symlink(host, rootfs.join("fill"))?)
        };
        let given = (&["tmpcopyup"][..], |_: &mut Value| ());
        let said = filled(runtime, files, given, "ls -A /fill/; echo end", |_| Ok(())).await?;
        assert_eq!(said, "end\n");
        Ok(())
    }
}

// runc refuses an image with a FIFO or a device there, and gives each name of a file a copy of its own.
#[tokio::test]
async fn every_kind_of_file_and_every_attribute_is_kept() -> Result<()> {
    let files = |rootfs: &Path| {
        let fill = rootfs.join("fill");
        std::fs::create_dir(&fill)?;
        let mode = Mode::from_bits_truncate(0o640);
        mknod(&fill.join("fifo"), SFlag::S_IFIFO, mode, 0)?;
        mknod(&fill.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3))?;
        mknod(&fill.join("blk"), SFlag::S_IFBLK, mode, makedev(7, 1))?;
        let one = std::fs::File::create(fill.join("one"))?;
        std::fs::hard_link(fill.join("one"), fill.join("two"))?;
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        one.set_modified(long_ago)?;
        Ok(std::fs::File::create(fill.join("lastlog"))?.set_len(1 << 40)?)
    };
    let volume = |json: &mut Value| {
        if let Some(mounts) = json["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": "/fill/one", "type": "bind", "source": "/etc/hosts",
                "options": ["rbind", "ro"],
            }));
        }
    };
    let script = "cd /fill; stat -c '%n %F %t:%T %a' fifo null blk; \
        stat -c '%h %Y %F' two; stat -c '%s %b' lastlog";
    let options = ["tmpcopyup", "size=1m"];
    let given = (&options[..], volume);
    let said = filled(Runtime::Medley, files, given, script, |_| Ok(())).await?;
    assert_eq!(
        said,
        "fifo fifo 0:0 640\nnull character special file 1:3 640\nblk block special file 7:1 640\n\
         1 1000000 regular empty file\n1099511627776 0\n"
    );
    Ok(())
}

#[tokio::test]
async fn the_container_pays_for_what_its_image_has_there() -> Result<()> {
    const SIZE: usize = 64 << 20;
    let bench = Bench::new(Runtime::Medley).await?;
    let files = |rootfs: &Path| {
        std::fs::create_dir(rootfs.join("fill"))?;
        Ok(std::fs::write(rootfs.join("fill/large"), vec![7; SIZE])?)
    };
    let limit = |json: &mut Value| {
        json["linux"]["resources"]["memory"] = json!({"limit": SIZE / 4, "swap": SIZE / 4});
    };
    let bundle = bundle(&bench, files, (&["tmpcopyup"], limit), "true")?;
    let shim = bench.start("it", &bundle).await?;
    let stdio = bench.stdio("it", Stdin::None)?;
    let refused = shim.create("it", &bundle, &stdio).await;
    let error = refused.err().context("the copy is within the limit")?;
    let said = format!("{error:#}");
    assert!(
        said.contains("cannot copy what the image has at /fill"),
        "{said}"
    );
    shim.shutdown("it").await;
    bench.close().await
}
