//! `spec`: writes a `config.json` to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::args::{Args, Flag};
use crate::create::BUNDLE;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;

const ROOTLESS: Flag = Flag::switch("rootless", "", "for a user without root's rights");

pub(crate) const ABOUT: About = About {
    name: "spec",
    args: "",
    about: "write a config.json to begin with",
    flags: &[BUNDLE, ROOTLESS],
};

/// What runc writes: a shell in the directory `rootfs`.
const TEMPLATE: &str = include_str!("spec/config.json");

const FILE: &str = "config.json";

pub(crate) fn run(_: &Global, args: &Args) -> Result<u8, Failure> {
    let dir = Path::new(args.value(BUNDLE.name).unwrap_or("."));
    let path = dir.join(FILE);
    if path.exists() {
        return Err(Failure::new(format!("File {FILE} exists. Remove it first")));
    }
    let text = if args.has(ROOTLESS.name) {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        format!("{:#}\n", rootless(uid, gid)?)
    } else {
        TEMPLATE.to_owned()
    };
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(text.as_bytes())
    };
    write()
        .map(|()| 0)
        .map_err(Failure::when(format!("write {}", path.display())))
}

/// The template for a user of the node, who is root inside.
fn rootless(uid: u32, gid: u32) -> Result<Value, Failure> {
    let mut spec: Value = serde_json::from_str(TEMPLATE)
        .map_err(|error| Failure::new(format!("the template is not JSON: {error}")))?;
    let linux = &mut spec["linux"];
    let kept = |kind: &str| kind != "network" && kind != "user";
    let namespaces = linux["namespaces"].as_array().into_iter().flatten();
    let mut namespaces: Vec<Value> = namespaces
        .filter(|each| each["type"].as_str().is_some_and(kept))
        .cloned()
        .collect();
    namespaces.push(json!({"type": "user"}));
    linux["namespaces"] = namespaces.into();
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    if let Some(linux) = linux.as_object_mut() {
        // Only the node's root may set limits.
        linux.remove("resources");
    }
    let mounts = spec["mounts"].as_array().into_iter().flatten();
    let mounts: Vec<Value> = mounts.map(rootless_mount).collect();
    spec["mounts"] = mounts.into();
    Ok(spec)
}

fn rootless_mount(mount: &Value) -> Value {
    let mut mount = mount.clone();
    if mount["type"] == "sysfs" {
        // The network namespace is the node's, whose sysfs can't be mounted.
        return json!({
            "destination": "/sys",
            "type": "none",
            "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
    }
    if let Some(options) = mount["options"].as_array_mut() {
        let names_id = |option: &Value| {
            let text = option.as_str().unwrap_or_default();
            text.starts_with("gid=") || text.starts_with("uid=")
        };
        options.retain(|option| !names_id(option));
    }
    mount
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_user_without_rights_has_a_user_namespace_and_no_limits() {
        let spec = super::rootless(1000, 100).unwrap();
        assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(spec["linux"]["gidMappings"][0]["hostID"], 100);
        let text = spec.to_string();
        assert!(text.contains(r#"{"type":"user"}"#) && !text.contains(r#"{"type":"network"}"#));
        assert!(!text.contains("gid=5") && !text.contains("\"sysfs\""));
        assert!(spec["linux"].get("resources").is_none());
    }
}
