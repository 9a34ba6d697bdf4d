//! Entrypoints on mounts.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Image, MODULE, SCRIPT, elf, write};

/// An image and a directory of the host with a module, `app.wasm`.
fn with_volume() -> (Image, std::path::PathBuf) {
    let image = Image::new();
    let volume = image.host("volume");
    write(&volume.join("app.wasm"), MODULE, 0o644);
    (image, volume)
}

#[test]
fn an_entrypoint_is_found_on_a_bind_mount() {
    let (image, volume) = with_volume();
    let image = image.bind("/data/v", &volume).args(&["/data/v/app.wasm"]);
    assert_eq!(image.wasm().module.to_str(), Some("/data/v/app.wasm"));
    let image = image.args(&["app.wasm"]).env(&["PATH=/bin:/data/v"]);
    assert_eq!(image.wasm().module.to_str(), Some("/data/v/app.wasm"));
}

#[test]
fn a_mounted_file_is_found_where_the_image_has_no_directory() {
    let image = Image::new();
    let init = image.host("docker-init");
    write(&init, &elf(None), 0o755);
    let image = image.bind("/sbin/docker-init", &init);
    let image = image.args(&["/sbin/docker-init", "--", "/bin/tool"]);
    assert_eq!(image.program().to_str(), Some("/sbin/docker-init"));
}

#[test]
fn a_mount_hides_what_the_image_has_there() {
    let (image, volume) = with_volume();
    let image = image
        .file("/v/app.wasm", SCRIPT, 0o755)
        .file("/v/old", SCRIPT, 0o755);
    let image = image.bind("/v", &volume).args(&["/v/app.wasm"]);
    assert_eq!(image.wasm().module.to_str(), Some("/v/app.wasm"));
    assert!(
        image
            .args(&["/v/old"])
            .error()
            .contains(r#""/v/old" not found"#)
    );
}

#[test]
fn a_later_mount_hides_an_earlier_one_at_or_below_its_place() {
    let (image, volume) = with_volume();
    let empty = image.host("empty");
    std::fs::create_dir_all(empty.join("sub")).unwrap();
    let image = image
        .bind("/v", &empty)
        .bind("/v", &volume)
        .args(&["/v/app.wasm"]);
    image.wasm();
    let image = image.bind("/w/sub", &volume).args(&["/w/sub/app.wasm"]);
    image.wasm();
    let image = image.bind("/w", &empty);
    assert!(image.error().contains("not found"));
    let image = image.bind("/w/sub", &volume);
    image.wasm();
}

#[test]
fn symlinks_lead_from_the_image_to_mounts_and_back() {
    let (image, volume) = with_volume();
    // As kubelet lays out a ConfigMap.
    std::fs::create_dir(volume.join("..1")).unwrap();
    write(&volume.join("..1/map.wasm"), MODULE, 0o644);
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/map.wasm", volume.join("map.wasm")).unwrap();
    symlink("/image.wasm", volume.join("home.wasm")).unwrap();
    symlink("../../../../image.wasm", volume.join("climb.wasm")).unwrap();
    symlink(volume.join("app.wasm"), volume.join("host.wasm")).unwrap();
    let image = image
        .file("/image.wasm", MODULE, 0o644)
        .link("/run", "/v/app.wasm");
    let mut image = image.bind("/v", &volume);
    for entry in [
        "/v/map.wasm",
        "/v/home.wasm",
        "/v/climb.wasm",
        "/run",
        "/v/../v/app.wasm",
    ] {
        image = image.args(&[entry]);
        assert_eq!(image.wasm().module.to_str(), Some(entry));
    }
    // A path of the host means nothing inside.
    assert!(
        image
            .args(&["/v/host.wasm"])
            .error()
            .contains("does not exist inside the container")
    );
}

#[test]
fn a_destination_behind_a_symlink_is_where_it_is_mounted() {
    let (image, volume) = with_volume();
    let mut image = image
        .link("/var/run", "/run")
        .bind("/var/run/secrets/v", &volume);
    for entry in ["/var/run/secrets/v/app.wasm", "/run/secrets/v/app.wasm"] {
        image = image.args(&[entry]);
        assert_eq!(image.wasm().module.to_str(), Some(entry));
    }
}

#[test]
fn an_entrypoint_on_a_tmpfs_cannot_be() {
    let tmpfs = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
    let image = Image::new()
        .file("/tmp/app", MODULE, 0o644)
        .args(&["/tmp/app"])
        .mount(tmpfs);
    assert_eq!(
        image.error(),
        r#"entrypoint "/tmp/app" lies on the tmpfs mount at "/tmp", which cannot be looked into before it is mounted; put it into the image or onto a bind mount"#
    );
    let copied = json!({"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]});
    let image = Image::new()
        .file("/tmp/app", MODULE, 0o644)
        .args(&["/tmp/app"])
        .mount(copied);
    image.wasm();
}

#[test]
fn what_is_on_a_later_mount_is_left_to_the_kernel() {
    let disk = json!({"destination": "/disk", "type": "ext4", "source": "/dev/sdb"});
    let image = Image::new().args(&["/disk/app"]).mount(disk);
    assert_eq!(image.program().to_str(), Some("/disk/app"));
    let forced = image.annotation("module.wasm.image/variant", "compat");
    assert!(forced.error().contains("lies on the ext4 mount"));
}

/// Its source is missing or relative.
#[test]
fn a_bind_mount_without_a_usable_source_is_not_looked_into() {
    let (image, volume) = with_volume();
    let image = image
        .bind("/v", &volume.join("none"))
        .bind("/w", "volume".as_ref());
    let image = image.args(&["/v/app.wasm"]);
    assert_eq!(image.program().to_str(), Some("/v/app.wasm"));
    assert_eq!(
        image.args(&["/w/app.wasm"]).program().to_str(),
        Some("/w/app.wasm")
    );
}
