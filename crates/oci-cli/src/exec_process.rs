//! The process that `exec` adds: a file's, or that of the container with what the options say.

use medley_container::shim::command::Record;
use serde_json::{Value, json};

use crate::args::{Args, Flag};
use crate::failure::Failure;

pub(crate) const CWD: Flag = Flag::with("cwd", "", "DIR", "the working directory");
pub(crate) const ENV: Flag = Flag::with("env", "e", "NAME=VALUE", "set a variable");
pub(crate) const TTY: Flag = Flag::switch("tty", "t", "give it a terminal");
pub(crate) const USER: Flag = Flag::with("user", "u", "UID[:GID]", "run it as this user");
pub(crate) const GROUPS: Flag = Flag::with(
    "additional-gids",
    "g",
    "GID",
    "give it a supplementary group",
);
pub(crate) const PROCESS: Flag = Flag::with(
    "process",
    "p",
    "FILE",
    "the OCI process as JSON, instead of a command",
);
pub(crate) const LABEL: Flag = Flag::with("process-label", "", "LABEL", "its SELinux label");
pub(crate) const APPARMOR: Flag = Flag::with("apparmor", "", "PROFILE", "its AppArmor profile");
pub(crate) const NO_NEW_PRIVILEGES: Flag =
    Flag::switch("no-new-privs", "", "let it gain no privileges");
pub(crate) const CAPABILITY: Flag = Flag::with("cap", "c", "CAP", "give it a further capability");

/// A process that was asked for.
pub(crate) struct Asked {
    pub(crate) json: Vec<u8>,
    pub(crate) terminal: bool,
}

/// The process that `args` ask for, with further variables.
pub(crate) fn of(args: &Args, record: &Record, env: &[String]) -> Result<Asked, Failure> {
    let mut process = match args.value(PROCESS.name) {
        Some(path) => read(path)?,
        None => adapted(args, own(record)?)?,
    };
    check(&process)?;
    if args.has(TTY.name) {
        process["terminal"] = json!(true);
    }
    extend(&mut process, "env", env.iter().cloned().map(Value::from));
    Ok(Asked {
        terminal: process["terminal"] == true,
        json: process.to_string().into_bytes(),
    })
}

fn read(path: &str) -> Result<Value, Failure> {
    let text =
        std::fs::read(path).map_err(|error| Failure::new(format!("open {path}: {error}")))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::new(format!("{path} is not JSON: {error}")))
}

/// The container's own process.
fn own(record: &Record) -> Result<Value, Failure> {
    let about = record.about();
    let about = about.ok_or_else(|| Failure::new("cannot exec in a stopped container"))?;
    let spec = read(&about.bundle.join("config.json").to_string_lossy())?;
    let mut process = spec["process"].clone();
    if !process.is_object() {
        return Err(Failure::new("process property must not be empty"));
    }
    // Whether it has a terminal is said by the option alone.
    process["terminal"] = json!(false);
    Ok(process)
}

fn adapted(args: &Args, mut process: Value) -> Result<Value, Failure> {
    let command = &args.rest[1..];
    if command.is_empty() {
        return Err(Failure::new("exec args cannot be empty"));
    }
    process["args"] = json!(command);
    for (flag, field) in [
        (CWD, "cwd"),
        (APPARMOR, "apparmorProfile"),
        (LABEL, "selinuxLabel"),
    ] {
        if let Some(value) = args.value(flag.name).filter(|value| !value.is_empty()) {
            process[field] = json!(value);
        }
    }
    for capability in args.values(CAPABILITY.name) {
        add_capability(&mut process, capability);
    }
    extend(&mut process, "env", args.values(ENV.name).map(Value::from));
    if args.value(NO_NEW_PRIVILEGES.name).is_some() {
        process["noNewPrivileges"] = json!(args.has(NO_NEW_PRIVILEGES.name));
    }
    if let Some(user) = args.value(USER.name) {
        set_user(&mut process, user)?;
    }
    let groups = args.values(GROUPS.name).map(|group| {
        let parsed = group.parse::<u32>();
        parsed
            .map(Value::from)
            .map_err(|_| Failure::new(format!("invalid additional gid {group:?}")))
    });
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    extend(&mut process["user"], "additionalGids", groups.into_iter());
    Ok(process)
}

/// An inheritable capability is what makes an ambient one possible.
fn add_capability(process: &mut Value, capability: &str) {
    let inherits = process["capabilities"]["inheritable"]
        .as_array()
        .is_some_and(|inheritable| !inheritable.is_empty());
    let capabilities = &mut process["capabilities"];
    let sets = ["bounding", "effective", "permitted"];
    for set in sets.into_iter().chain(inherits.then_some("ambient")) {
        extend(capabilities, set, [Value::from(capability)].into_iter());
    }
}

/// Adds to a list that may not be there.
fn extend(object: &mut Value, list: &str, items: impl Iterator<Item = Value>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    if object[list].is_null() {
        object[list] = json!([]);
    }
    if let Some(list) = object[list].as_array_mut() {
        list.extend(items);
    }
}

fn set_user(process: &mut Value, user: &str) -> Result<(), Failure> {
    let (uid, gid) = match user.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (user, None),
    };
    let number = |kind: &str, text: &str| {
        let parsed = text.parse::<u32>();
        parsed.map_err(|error| {
            Failure::new(format!("parsing {text} as int for {kind} failed: {error}"))
        })
    };
    process["user"]["uid"] = json!(number("uid", uid)?);
    if let Some(gid) = gid {
        process["user"]["gid"] = json!(number("gid", gid)?);
    }
    Ok(())
}

/// What runc refuses, in its words.
fn check(process: &Value) -> Result<(), Failure> {
    let cwd = process["cwd"].as_str().unwrap_or_default();
    let has_args = process["args"]
        .as_array()
        .is_some_and(|args| !args.is_empty());
    let wrong = if !process.is_object() {
        "process property must not be empty"
    } else if cwd.is_empty() {
        "Cwd property must not be empty"
    } else if !cwd.starts_with('/') {
        "Cwd must be an absolute path"
    } else if !has_args {
        "args must not be empty"
    } else {
        return Ok(());
    };
    Err(Failure::new(wrong))
}

#[cfg(test)]
mod tests {
    use super::{add_capability, check, extend, set_user};
    use serde_json::{Value, json};

    #[test]
    fn what_options_say_is_added_to_the_containers_process() {
        let mut process =
            json!({"user": {"uid": 1, "gid": 2}, "capabilities": {"bounding": ["A"]}});
        set_user(&mut process, "7").unwrap();
        assert_eq!(process["user"], json!({"uid": 7, "gid": 2}));
        set_user(&mut process, "8:9").unwrap();
        assert_eq!(process["user"], json!({"uid": 8, "gid": 9}));
        assert!(set_user(&mut process, "root").is_err());
        add_capability(&mut process, "B");
        assert_eq!(
            process["capabilities"],
            json!({"bounding": ["A", "B"], "effective": ["B"], "permitted": ["B"]})
        );
        process["capabilities"]["inheritable"] = json!(["A"]);
        add_capability(&mut process, "C");
        assert_eq!(process["capabilities"]["ambient"], json!(["C"]));
        extend(&mut process, "env", [Value::from("X=1")].into_iter());
        assert_eq!(process["env"], json!(["X=1"]));
    }

    #[test]
    fn a_process_needs_a_directory_and_arguments() {
        check(&json!({"cwd": "/", "args": ["a"]})).unwrap();
        for (process, wrong) in [
            (Value::Null, "process property must not be empty"),
            (json!({"args": ["a"]}), "Cwd property must not be empty"),
            (
                json!({"cwd": "a", "args": ["a"]}),
                "Cwd must be an absolute path",
            ),
            (json!({"cwd": "/", "args": []}), "args must not be empty"),
        ] {
            assert_eq!(check(&process).unwrap_err().to_string(), wrong);
        }
    }
}
