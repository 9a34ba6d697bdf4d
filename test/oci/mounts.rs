//! Mounts whose flags are those that the spec names.

use medley_test::*;
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn mount(args: &[&str], at: &Path) -> Result<()> {
    let status = Command::new("mount").args(args).arg(at).arg(at).status()?;
    ensure!(status.success(), "mount {args:?} ended with {status}");
    Ok(())
}

each_runtime! {
    async fn a_bind_mount_has_the_flags_of_its_options(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let source = oci.dir().join("source");
        std::fs::create_dir(&source)?;
        mount(&["--bind"], &source)?;
        mount(&["-o", "remount,bind,ro,noexec"], &source)?;
        let bundle = oci.script("it", "grep -E ' /(kept|own) ' /proc/self/mounts", |spec| {
            spec.edit(|json| {
                for (at, options) in [("/kept", json!(["rbind"])), ("/own", json!(["rbind", "nosuid"]))] {
                    let mount = json!({"destination": at, "type": "bind", "source": source, "options": options});
                    if let Some(mounts) = json["mounts"].as_array_mut() {
                        mounts.push(mount);
                    }
                }
            })
        })?;
        let said = oci.run(&["run", "--bundle", &bundle.to_string_lossy(), "it"])?.ok()?;
        let flags = |at: &str| {
            let line = said.lines().find(|line| line.contains(at)).unwrap_or_default();
            line.split(' ').nth(3).unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>()
        };
        let has = |at: &str, flag: &str| flags(at).iter().any(|it| it == flag);
        assert!(has("/kept", "ro") && has("/kept", "noexec"), "{said}");
        assert!(has("/own", "rw") && has("/own", "nosuid") && !has("/own", "noexec"), "{said}");
        let status = Command::new("umount").arg(&source).status()?;
        ensure!(status.success(), "umount ended with {status}");
        oci.close()
    }

    async fn a_dev_with_ro_cannot_be_written_to(runtime: Runtime) -> Result<()> {
        let oci = Oci::new(runtime)?;
        let script = "echo x >/dev/null && ! touch /dev/file && grep '^tmpfs /dev ' /proc/self/mounts";
        let bundle = oci.script("it", script, |spec| {
            spec.edit(|json| {
                for mount in json["mounts"].as_array_mut().into_iter().flatten() {
                    if mount["destination"] == "/dev"
                        && let Some(options) = mount["options"].as_array_mut()
                    {
                        options.push(json!("ro"));
                    }
                }
            })
        })?;
        let said = oci.run(&["run", "--bundle", &bundle.to_string_lossy(), "it"])?.ok()?;
        assert!(said.contains(" ro,"), "{said}");
        oci.close()
    }
}
