//! What a process asks for, a container's init or an exec, that the kernel would take for something
//! else, or refuse without saying what it means.

use oci_spec::runtime::Process;

use super::refused::{Refused, refused};

/// To the kernel it means "as before": a process that is to be this user would stay root.
const NO_ID: u32 = u32::MAX;

/// Refuses it.
pub(crate) fn check_process(process: &Process) -> Result<(), Refused> {
    let user = process.user();
    let groups = user.additional_gids().iter().flatten().enumerate();
    let groups = groups.map(|(at, gid)| (format!("process.user.additionalGids[{at}]"), *gid));
    let own = [
        ("process.user.uid", user.uid()),
        ("process.user.gid", user.gid()),
    ];
    let own = own.map(|(place, id)| (place.to_owned(), id));
    for (place, id) in own.into_iter().chain(groups) {
        if id == NO_ID {
            return refused(
                place,
                format!("is {id}, which is no id: the last is {}", NO_ID - 1),
            );
        }
    }
    let cwd = process.cwd();
    if !cwd.as_os_str().is_empty() && !cwd.is_absolute() {
        return refused(
            "process.cwd",
            format!("is {cwd:?}: it has to be an absolute path"),
        );
    }
    for (at, limit) in process.rlimits().iter().flatten().enumerate() {
        if limit.soft() > limit.hard() {
            let (soft, hard) = (limit.soft(), limit.hard());
            let what = format!("has the soft limit {soft}, above the hard limit, {hard}");
            return refused(format!("process.rlimits[{at}]"), what);
        }
    }
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            let what = format!("is {score}: it has to be from -1000 to 1000");
            refused("process.oomScoreAdj", what)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_process;
    use oci_spec::runtime::Process;
    use serde_json::{Value, json};

    fn told(change: &str, value: Value) -> String {
        let mut process = json!({"cwd": "/", "args": ["/x"], "user": {"uid": 0, "gid": 0}});
        let (parent, name) = change.rsplit_once('/').unwrap();
        process.pointer_mut(parent).unwrap()[name] = value;
        let process: Process = serde_json::from_value(process).unwrap();
        check_process(&process).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn an_id_that_the_kernel_takes_for_the_present_one_is_refused() {
        assert_eq!(
            told("/user/uid", json!(u32::MAX)),
            "process.user.uid of the container's spec is 4294967295, which is no id: the last is \
             4294967294"
        );
        assert!(told("/user/gid", json!(u32::MAX)).contains("process.user.gid "));
        assert!(told("/user/additionalGids", json!([1, u32::MAX])).contains("additionalGids[1] "));
        assert_eq!(told("/user/uid", json!(u32::MAX - 1)), "");
    }

    #[test]
    fn what_no_process_can_have_is_told_by_its_place() {
        let limits = json!([{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 20}]);
        for (change, value, words) in [
            (
                "/cwd",
                json!("x"),
                "process.cwd of the container's spec is \"x\": it has to be",
            ),
            (
                "/rlimits",
                limits,
                "process.rlimits[0] of the container's spec has the soft limit 20",
            ),
            (
                "/oomScoreAdj",
                json!(1001),
                "process.oomScoreAdj of the container's spec is 1001",
            ),
        ] {
            let text = told(change, value);
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(told("/cwd", json!("")), "");
        assert_eq!(told("/oomScoreAdj", json!(-1000)), "");
    }
}
