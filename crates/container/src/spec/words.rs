//! Words of a spec that this build does not know: those of a later edition of the OCI runtime spec,
//! or misspelt ones.
//!
//! As with runc, an unknown capability is left out with a warning, since its process has less then;
//! any other word is refused by its name and place, since what it asks for can't be done.

use std::borrow::Cow;
use std::collections::HashMap;

use oci_spec::runtime::{
    Arch, Capability, IOPriorityClass, LinuxDeviceType, LinuxNamespaceType, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccompAction, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, PosixRlimitType, Process, Spec,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use serde_json::Value;

use super::{memory_policy, nul};

/// The sets of capabilities that a process has.
const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
];

/// What was read, and the capabilities in it that are not known and were left out.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) unknown_capabilities: Vec<String>,
    /// Whether something was left out that has only one meaning.
    pub(crate) is_completed: bool,
}

/// Why it can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is malformed.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A text in it has a NUL, at which the kernel would take it for ended.
    #[error("{place} is {text:?}, which has a NUL in it")]
    Nul {
        /// Where in the spec.
        place: String,
        /// What stands there.
        text: String,
    },
    /// The container's memory can't come from where it is to.
    #[error(transparent)]
    MemoryPolicy(#[from] memory_policy::Error),
    /// It asks for something that is not known here.
    #[error("{place} is {word:?}, which this runtime does not know")]
    Word {
        /// Where in the spec.
        place: String,
        /// What stands there.
        word: String,
    },
}

/// Reads a spec.
pub(super) fn spec(text: &[u8]) -> Result<Read<Spec>, Error> {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        process: Option<Named<'a>>,
        linux: Option<OutlineOfLinux>,
    }
    let outline = serde_json::from_slice::<Outline<'_>>(text).ok();
    let linux = outline.as_ref().and_then(|outline| outline.linux.as_ref());
    linux.map_or(Ok(()), OutlineOfLinux::check)?;
    refuse_nul(text)?;
    let known = outline.is_some_and(|outline| outline.process.is_none_or(|named| named.known()));
    read(text, known, "/process")
}

/// Reads a process.
pub(crate) fn process(text: &[u8]) -> Result<Read<Process>, Error> {
    refuse_nul(text)?;
    let known = serde_json::from_slice::<Named<'_>>(text).is_ok_and(|named| named.known());
    read(text, known, "")
}

fn refuse_nul(text: &[u8]) -> Result<(), Error> {
    nul::find(text).map_or(Ok(()), |(place, text)| Err(Error::Nul { place, text }))
}

/// Fields that the crate which reads a spec has by names of its own, and would pass over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutlineOfLinux {
    intel_rdt: Option<Monitoring>,
    memory_policy: Option<memory_policy::Outline>,
}

/// What `enableMonitoring` is for in later specs.
#[derive(Deserialize)]
struct Monitoring {
    #[serde(rename = "enableCMT")]
    cmt: Option<bool>,
    #[serde(rename = "enableMBM")]
    mbm: Option<bool>,
}

impl OutlineOfLinux {
    fn check(&self) -> Result<(), Error> {
        if let Some(policy) = &self.memory_policy {
            policy.check()?;
        }
        let Some(asked) = &self.intel_rdt else {
            return Ok(());
        };
        for (name, is_asked) in [("enableCMT", asked.cmt), ("enableMBM", asked.mbm)] {
            if is_asked == Some(true) {
                return Err(Error::Word {
                    place: format!("linux.intelRdt.{name}"),
                    word: "true".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// What of a process has to be looked at before it is taken as it is: other spellings of a
/// capability would be taken for it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    capabilities: Option<HashMap<Cow<'a, str>, Names<'a>>>,
}

/// The names of capabilities in a set.
type Names<'a> = Option<Vec<Cow<'a, str>>>;

impl Named<'_> {
    fn known(&self) -> bool {
        let sets = self.capabilities.iter().flat_map(HashMap::values);
        sets.flatten().flatten().all(|name| is_capability(name))
    }
}

/// Whether a capability is called so, in these very letters.
fn is_capability(name: &str) -> bool {
    let plain = name
        .strip_prefix("CAP_")
        .filter(|rest| !rest.starts_with("CAP_"));
    plain.is_some_and(|rest| !rest.bytes().any(|byte| byte.is_ascii_lowercase()))
        && is_word::<Capability>(name)
}

pub(super) fn is_word<T: DeserializeOwned>(word: &str) -> bool {
    let word: value::StrDeserializer<'_, value::Error> = word.into_deserializer();
    T::deserialize(word).is_ok()
}

/// Takes `text` as it is if all is known, else without what may be left out. The process stands
/// at `process` in it.
fn read<T: DeserializeOwned>(text: &[u8], known: bool, process: &str) -> Result<Read<T>, Error> {
    let plain = serde_json::from_slice(text);
    let malformed = match (known, plain) {
        (true, Ok(value)) => {
            return Ok(Read {
                value,
                unknown_capabilities: Vec::new(),
                is_completed: false,
            });
        }
        (_, plain) => plain.err(),
    };
    let mut json: Value = serde_json::from_slice(text)?;
    let mut unknown_capabilities = Vec::new();
    let mut is_completed = false;
    if let Some(process) = json.pointer_mut(process) {
        leave_out_capabilities(process, &mut unknown_capabilities);
        spell_as_known(process);
        is_completed = complete(process);
    }
    refuse_unknown(&json, process)?;
    match (serde_json::from_value(json), malformed) {
        (Ok(value), _) => Ok(Read {
            value,
            unknown_capabilities,
            is_completed,
        }),
        // This one knows the line.
        (Err(_), Some(error)) | (Err(error), None) => Err(error.into()),
    }
}

fn leave_out_capabilities(process: &mut Value, left_out: &mut Vec<String>) {
    for set in SETS {
        let names = process.get_mut("capabilities").and_then(|c| c.get_mut(set));
        let Some(names) = names.and_then(Value::as_array_mut) else {
            continue;
        };
        names.retain(|name| {
            let Some(name) = name.as_str().filter(|name| !is_capability(name)) else {
                return true;
            };
            if !left_out.iter().any(|known| known == name) {
                left_out.push(name.to_owned());
            }
            false
        });
    }
}

/// A process that names no user is root's, as for runc.
fn complete(process: &mut Value) -> bool {
    let Some(process) = process
        .as_object_mut()
        .filter(|it| !it.contains_key("user"))
    else {
        return false;
    };
    process.insert("user".to_owned(), serde_json::json!({"uid": 0, "gid": 0}));
    true
}

/// Two flags of the OCI runtime spec have other names in the crate that reads it.
fn spell_as_known(process: &mut Value) {
    let flags = process
        .pointer_mut("/scheduler/flags")
        .and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            _ => {}
        }
    }
}

/// Names the first word that is not known, and where it stands.
fn refuse_unknown(json: &Value, process: &str) -> Result<(), Error> {
    let seek = Seek { json };
    let of_process = |rest: &str| format!("{process}/{rest}");
    seek.all::<PosixRlimitType>(&of_process("rlimits/*/type"))?;
    seek.all::<IOPriorityClass>(&of_process("ioPriority/class"))?;
    seek.all::<LinuxSchedulerPolicy>(&of_process("scheduler/policy"))?;
    seek.all::<LinuxSchedulerFlag>(&of_process("scheduler/flags/*"))?;
    seek.all::<LinuxNamespaceType>("/linux/namespaces/*/type")?;
    seek.all::<LinuxDeviceType>("/linux/devices/*/type")?;
    seek.all::<LinuxDeviceType>("/linux/resources/devices/*/type")?;
    seek.all::<LinuxPersonalityDomain>("/linux/personality/domain")?;
    seek.all::<LinuxSeccompAction>("/linux/seccomp/defaultAction")?;
    seek.all::<Arch>("/linux/seccomp/architectures/*")?;
    seek.all::<LinuxSeccompFilterFlag>("/linux/seccomp/flags/*")?;
    seek.all::<LinuxSeccompAction>("/linux/seccomp/syscalls/*/action")?;
    seek.all::<LinuxSeccompOperator>("/linux/seccomp/syscalls/*/args/*/op")
}

struct Seek<'a> {
    json: &'a Value,
}

impl Seek<'_> {
    /// Checks each word at `path`, in which `*` is every element of an array.
    fn all<T: DeserializeOwned>(&self, path: &str) -> Result<(), Error> {
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        check::<T>(self.json, &steps, &mut String::new())
    }
}

fn check<T: DeserializeOwned>(
    value: &Value,
    steps: &[&str],
    place: &mut String,
) -> Result<(), Error> {
    let Some((step, rest)) = steps.split_first() else {
        return match value.as_str() {
            Some(word) if !is_word::<T>(word) => Err(Error::Word {
                place: place.clone(),
                word: word.to_owned(),
            }),
            _ => Ok(()),
        };
    };
    let length = place.len();
    if *step == "*" {
        for (index, value) in value.as_array().into_iter().flatten().enumerate() {
            place.push_str(&format!("[{index}]"));
            check::<T>(value, rest, place)?;
            place.truncate(length);
        }
    } else if let Some(value) = value.get(step) {
        if !place.is_empty() {
            place.push('.');
        }
        place.push_str(step);
        check::<T>(value, rest, place)?;
        place.truncate(length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{process, spec};
    use oci_spec::runtime::{Capability, LinuxSchedulerFlag};

    const PROCESS: &str = r#"{"user":{"uid":0,"gid":0},"cwd":"/","args":["a"],"#;

    #[test]
    fn unknown_capabilities_are_left_out_and_told() {
        let text = format!(
            r#"{PROCESS}"capabilities":{{"bounding":["CAP_CHOWN","CAP_NEW","chown"],"effective":["CAP_NEW","CAP_CAP_KILL"],"ambient":null}}}}"#
        );
        let read = process(text.as_bytes()).unwrap();
        assert_eq!(
            read.unknown_capabilities,
            ["CAP_NEW", "chown", "CAP_CAP_KILL"]
        );
        let capabilities = read.value.capabilities().clone().unwrap();
        let bounding = capabilities.bounding().clone().unwrap();
        assert_eq!(Vec::from_iter(bounding), [Capability::Chown]);
        assert!(capabilities.effective().as_ref().unwrap().is_empty());
    }

    #[test]
    fn a_spec_that_is_known_is_taken_as_it_is() {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{PROCESS}"capabilities":{{"bounding":["CAP_CHOWN"]}}}}}}"#
        );
        assert!(
            spec(text.as_bytes())
                .unwrap()
                .unknown_capabilities
                .is_empty()
        );
    }

    #[test]
    fn every_other_unknown_word_is_named_with_its_place() {
        let linux = |linux: &str| format!(r#"{{"ociVersion":"1.0.2","linux":{linux}}}"#);
        for (text, place) in [
            (
                linux(r#"{"namespaces":[{"type":"pid"},{"type":"new"}]}"#),
                "linux.namespaces[1].type is \"new\"",
            ),
            (
                linux(r#"{"seccomp":{"defaultAction":"SCMP_ACT_NEW"}}"#),
                "linux.seccomp.defaultAction is \"SCMP_ACT_NEW\"",
            ),
            (
                linux(
                    r#"{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"NEW"}]}]}}"#,
                ),
                "linux.seccomp.syscalls[0].args[0].op is \"NEW\"",
            ),
            (
                format!(
                    r#"{{"ociVersion":"1.0.2","process":{PROCESS}"rlimits":[{{"type":"RLIMIT_NEW","soft":1,"hard":1}}]}}}}"#
                ),
                "process.rlimits[0].type is \"RLIMIT_NEW\"",
            ),
        ] {
            let error = spec(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn a_field_that_is_read_by_another_name_is_not_passed_over() {
        let text = |rdt: &str| format!(r#"{{"ociVersion":"1.1.0","linux":{{"intelRdt":{rdt}}}}}"#);
        let error = spec(text(r#"{"closID":"a","enableMBM":true}"#).as_bytes());
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("linux.intelRdt.enableMBM"), "{error}");
        assert!(spec(text(r#"{"closID":"a","enableMBM":false}"#).as_bytes()).is_ok());
    }

    #[test]
    fn the_runtime_specs_spelling_of_a_flag_is_understood() {
        let text = format!(
            r#"{PROCESS}"scheduler":{{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_RESET_ON_FORK"]}}}}"#
        );
        let read = process(text.as_bytes()).unwrap();
        let scheduler = read.value.scheduler().clone().unwrap();
        assert_eq!(
            scheduler.flags().as_deref(),
            Some(
                &[
                    LinuxSchedulerFlag::SchedFlagDLOverrun,
                    LinuxSchedulerFlag::SchedResetOnFork,
                ][..]
            )
        );
    }

    #[test]
    fn what_is_malformed_is_told_by_its_line() {
        let error = spec(b"{\n \"ociVersion\": 5}").unwrap_err();
        let text = medley_types::sentence(&error);
        assert!(text.contains("line 2"), "{text}");
    }
}
