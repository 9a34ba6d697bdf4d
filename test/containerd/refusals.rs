//! What neither runtime can do is refused, by Medley in one sentence: what failed, on what, why, and
//! what would help.

use medley_test::*;
use serde_json::{Value, json};

/// How a spec is changed, and Medley's sentence.
type Case = (&'static str, fn(&mut Value), &'static str);

fn push(json: &mut Value, list: &str, value: Value) {
    if let Some(list) = json.pointer_mut(list).and_then(Value::as_array_mut) {
        list.push(value);
    }
}

fn mount(json: &mut Value, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({"destination": "/mnt", "type": kind, "source": source, "options": options});
    push(json, "/mounts", mount);
}

fn namespace(json: &mut Value, kind: &str, path: &str) {
    if let Some(namespaces) = json["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|one| one["type"] != kind);
    }
    push(
        json,
        "/linux/namespaces",
        json!({"type": kind, "path": path}),
    );
}

const CASES: &[Case] = &[
    (
        "fs-type",
        |json| mount(json, "frobfs", "x", &[]),
        "cannot mount the file system \"frobfs\" from \"x\" at \"/mnt\": No such device (os error 19); this \
         node's kernel has no such file system: correct the type, or load its module",
    ),
    (
        "fs-option",
        |json| mount(json, "tmpfs", "tmpfs", &["frob=3"]),
        "cannot mount the file system \"tmpfs\" from \"tmpfs\" at \"/mnt\": Invalid argument (os error 22); it \
         does not take one of the options \"frob=3\"",
    ),
    (
        "no-source",
        |json| mount(json, "bind", "/no/\nsuch", &["rbind"]),
        "cannot mount /no/\\nsuch at /mnt: No such file or directory (os error 2)",
    ),
    (
        "file-on-dir",
        |json| {
            push(
                json,
                "/mounts",
                json!({"destination": "/sys", "type": "bind",
            "source": "/etc/passwd", "options": ["rbind"]}),
            )
        },
        "cannot mount \"/etc/passwd\" at \"/sys\": ",
    ),
    (
        "no-type",
        |json| {
            push(
                json,
                "/mounts",
                json!({"destination": "/mnt", "source": "/etc"}),
            )
        },
        "the mount at \"/mnt\" has neither a type nor the option bind; give it one of both",
    ),
    (
        "over-proc",
        |json| {
            push(
                json,
                "/mounts",
                json!({"destination": "/proc/self", "type": "bind",
            "source": "/etc", "options": ["rbind"]}),
            )
        },
        "the mount destination /proc/self lies in /proc, where the kernel's own files are",
    ),
    (
        "nul",
        |json| mount(json, "bind", "/etc\0x", &["rbind"]),
        ".source is \"/etc\\0x\", which has a NUL in it",
    ),
    (
        "namespace",
        |json| namespace(json, "ipc", "/no/such/ipc"),
        "cannot open the namespace /no/such/ipc: No such file or directory (os error 2)",
    ),
    (
        "no-namespace",
        |json| namespace(json, "uts", "/etc/passwd"),
        "cannot enter the uts namespace \"/etc/passwd\": Invalid argument (os error 22); the path has to be \
         of a uts namespace",
    ),
    (
        "sysctl",
        |json| json["linux"]["sysctl"] = json!({"net.frob.x": "1"}),
        "linux.sysctl of the container's spec has \"net.frob.x\", which this node's kernel has not",
    ),
    (
        "sysctl-value",
        |json| json["linux"]["sysctl"] = json!({"kernel.shmmax": "frob"}),
        "cannot set the sysctl \"kernel.shmmax\" to \"frob\": Invalid argument (os error 22); correct linux.sysctl",
    ),
    (
        "sysctl-node",
        |json| json["linux"]["sysctl"] = json!({"vm.swappiness": "1"}),
        "the sysctl vm.swappiness of the container's spec is the node's",
    ),
    (
        "hook-none",
        |json| {
            json["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}, {"path": "/no/hook"}]})
        },
        "error running createRuntime hook #1: \"/no/hook\" cannot be run: No such file or directory (os error 2)",
    ),
    (
        "hook-dir",
        |json| json["hooks"] = json!({"createContainer": [{"path": "/etc"}]}),
        "error running createContainer hook #0: \"/etc\" cannot be run: ",
    ),
    (
        "hook-fails",
        |json| {
            json["hooks"] = json!({"prestart": [
                {"path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 3"]}]});
        },
        "error running prestart hook #0: \"/bin/sh\" ended with exit code 3, saying \"no luck\"",
    ),
    (
        "cwd",
        |json| json["process"]["cwd"] = json!("here"),
        "process.cwd of the container's spec is \"here\": it has to be an absolute path",
    ),
    (
        "no-id",
        |json| json["process"]["user"]["uid"] = json!(u32::MAX),
        "process.user.uid of the container's spec is 4294967295, which is no id",
    ),
    (
        "limit",
        |json| {
            json["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "hard": 1_u64 << 40, "soft": 10}]);
        },
        "cannot set the limit RLIMIT_NOFILE to 10, and 1099511627776 at most: Operation not permitted (os \
         error 1); ",
    ),
    (
        "hostname",
        |json| json["hostname"] = json!("h".repeat(65)),
        "hostname of the container's spec has 65 bytes: it has to have 64 at most",
    ),
    (
        "users",
        |json| push(json, "/linux/namespaces", json!({"type": "user"})),
        "linux.uidMappings of the container's spec is missing, which a new user namespace takes its ids from",
    ),
    (
        "device",
        |json| {
            json["linux"]["devices"] =
                json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}]);
        },
        "the device /dev/x is none that can be made: ",
    ),
    (
        "filter",
        |json| {
            json["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]});
        },
        "linux.seccomp.syscalls[0].args[0].index of the container's spec is 9: a call's arguments are 0 to 5",
    ),
    (
        "pipes",
        |json| {
            push(
                json,
                "/linux/resources/devices",
                json!({"allow": true, "type": "p", "access": "rwm"}),
            )
        },
        ".type of the container's spec is p: a rule is for devices of the type a, b or c",
    ),
    (
        "agent",
        |json| {
            json["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/no/agent",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        },
        "cannot reach the agent of linux.seccomp.listenerPath at \"/no/agent\": No such file or directory \
         (os error 2); start it first",
    ),
];

each_runtime! {
    async fn what_can_not_be_done_is_told_in_one_sentence(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let mut wrong = Vec::new();
        for (id, change, sentence) in CASES {
            let spec = client.spec(&image, id).edit(change);
            let status = client.refused(id, &image, spec).await?;
            let text = status.message();
            if runtime == Runtime::Medley {
                let raw = ["\n", "{ ", "Some(", "err=", "failed to create container"];
                if !text.contains(sentence) || raw.iter().any(|raw| text.contains(raw)) {
                    wrong.push(format!("{id}: {text}"));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        containerd.expect_clean()?;
        containerd.close().await
    }
}
