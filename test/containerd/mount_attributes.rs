//! What of a container's file system is read-only or hidden, and where a volume's links lead its mounts.

use medley_test::*;

use crate::mounts::{refused, shell};

fn mounts(json: &mut serde_json::Value, more: impl IntoIterator<Item = serde_json::Value>) {
    if let Some(mounts) = json["mounts"].as_array_mut() {
        mounts.extend(more);
    }
}

fn bound(from: &std::path::Path, at: &str, options: &[&str]) -> serde_json::Value {
    serde_json::json!({"destination": at, "type": "bind", "source": from, "options": options})
}

/// Two volumes, the first one of which has a link to `to`; the dir that they lie in.
fn volumes(dir: &std::path::Path, to: &str) -> std::io::Result<std::path::PathBuf> {
    std::fs::create_dir(dir.join("outer"))?;
    std::fs::create_dir(dir.join("inner"))?;
    std::os::unix::fs::symlink(to, dir.join("outer/sub"))?;
    Ok(dir.to_owned())
}

each_runtime! {
    /// A program there still runs.
    async fn a_read_only_path_keeps_its_other_attributes(runtime: Runtime) -> Result<()> {
        let script = "touch /bin/x 2>/dev/null; /bin/ls /bin/x 2>/dev/null || /bin/echo kept";
        let text = shell(runtime, |image| image, script, |spec, _| spec.edit(|json| {
            json["linux"]["readonlyPaths"] = serde_json::json!(["/bin"]);
        }));
        assert_eq!(text.await?, "kept\n");
        Ok(())
    }

    async fn what_a_masked_link_leads_to_is_hidden(runtime: Runtime) -> Result<()> {
        let files = |image: ImageBuilder| image
            .file("/secret", "hidden", 0o644)
            .file("/dir/secret", "hidden", 0o644)
            .symlink("/link", "secret")
            .symlink("/more", "/dir");
        let script = "cat /secret /link; ls -A /dir /more; echo end";
        let text = shell(runtime, files, script, |spec, _| spec.edit(|json| {
            json["linux"]["maskedPaths"] = serde_json::json!(["/link", "/more"]);
        }));
        assert_eq!(text.await?, "/dir:\n\n/more:\nend\n");
        Ok(())
    }

    /// They are filled before: with devices, with another's destination.
    async fn a_read_only_dev_and_tmpfs_are_filled_first(runtime: Runtime) -> Result<()> {
        let script = "touch /dev/x /scratch/x 2>/dev/null; ls /scratch; cat /scratch/deep/note; \
            echo written > /dev/null && ls /dev/null";
        let text = shell(runtime, |image| image, script, |spec, volume| spec.edit(|json| {
            for mount in json["mounts"].as_array_mut().into_iter().flatten() {
                if mount["destination"] == "/dev" {
                    mount["options"] = serde_json::json!(["nosuid", "ro", "mode=755"]);
                }
            }
            let scratch = serde_json::json!({"destination": "/scratch", "type": "tmpfs",
                "source": "tmpfs", "options": ["ro"]});
            mounts(json, [scratch, bound(volume, "/scratch/deep", &["rbind", "ro"])]);
        }));
        assert_eq!(text.await?, "deep\na note\n/dev/null\n");
        Ok(())
    }

    /// One volume is mounted in another, which others can write to: a link there may lead anywhere.
    async fn no_volume_lies_over_the_root_or_over_procfs(runtime: Runtime) -> Result<()> {
        for to in ["/", "/proc"] {
            let host = std::cell::RefCell::new(Ok(std::path::PathBuf::new()));
            let files = |image: ImageBuilder, dir: &str| {
                *host.borrow_mut() = volumes(dir.as_ref(), to);
                image
            };
            let both = |json: &mut serde_json::Value| {
                let host = host.borrow();
                let dir = host.as_deref().unwrap_or(std::path::Path::new("/nowhere"));
                let of = |name, at| bound(&dir.join(name), at, &["rbind", "rw"]);
                mounts(json, [of("outer", "/data"), of("inner", "/data/sub")]);
            };
            let (said, _) = refused(runtime, files, |spec| spec.edit(both)).await?;
            host.into_inner()?;
            if runtime == Runtime::Medley {
                let sentence = format!("a symlink leads to {}", if to == "/" { "the root" } else { to });
                assert!(said.contains("/data/sub") && said.contains(&sentence), "{said}");
            }
        }
        Ok(())
    }

    /// Though the root tells the node of mounts: containerd says so as soon as one volume is to.
    async fn a_mount_in_a_private_volume_is_not_seen_on_the_node(runtime: Runtime) -> Result<()> {
        let on_node = || std::fs::read_to_string("/proc/self/mountinfo");
        let mut at = std::path::PathBuf::new();
        let script = "cat /data/sub/note; while read _ _ _ _ at _; do [ $at != /data/sub ] || echo $at; \
            done < /proc/self/mountinfo";
        let text = shell(runtime, |image| image, script, |spec, volume| {
            at = volume.join("sub");
            std::fs::create_dir(&at).unwrap_or_default();
            let options = ["rbind", "rprivate", "rw"];
            spec.edit(|json| {
                json["linux"]["rootfsPropagation"] = "rshared".into();
                mounts(json, [bound(volume, "/data", &options), bound(volume, "/data/sub", &options)]);
            })
        })
        .await?;
        assert_eq!(text, "a note\n/data/sub\n");
        let left = on_node()?;
        assert!(!left.contains(&at.display().to_string()), "{left}");
        Ok(())
    }
}
