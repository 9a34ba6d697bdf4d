//! `ps`: the processes of a container.

use std::process::Command;

use serde_json::json;

use crate::args::Args;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::list::FORMAT;
use crate::output::print;

pub(crate) const ABOUT: About = About {
    name: "ps",
    args: "<container-id> [ps options]",
    about: "list the processes of a container",
    flags: &[FORMAT],
};

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let record = global.record(&args.rest[0])?;
    let cgroup = record
        .cgroup()
        .ok_or_else(|| Failure::new("the container has no cgroup"))?;
    let mut pids = cgroup.pids().map_err(|error| Failure::of(&error))?;
    // One that is in no cgroup of its own.
    if let Some(init) = record
        .init()
        .and_then(|init| u32::try_from(init.pid()).ok())
        && !pids.contains(&init)
    {
        pids.push(init);
    }
    match args.value(FORMAT.name) {
        None | Some("table") => {}
        Some("json") => return print(&format!("{}\n", json!(pids))).map(|()| 0),
        Some(_) => return Err(Failure::new("invalid format option")),
    }
    let options = match &args.rest[1..] {
        [] => &["-ef".to_owned()],
        options => options,
    };
    let listed = Command::new("ps").args(options).output();
    let listed = listed.map_err(Failure::when("run ps"))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(Failure::new(format!("{}: {text}{said}", listed.status)));
    }
    print(&select(&text, &pids)?).map(|()| 0)
}

/// Those lines of what `ps` prints that are of `pids`, and the first.
fn select(text: &str, pids: &[u32]) -> Result<String, Failure> {
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: u32| pids.contains(&pid))
    };
    let ours = lines.filter(is_ours);
    Ok([title]
        .into_iter()
        .chain(ours)
        .map(|line| format!("{line}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_containers_own_processes_are_shown() {
        let text = "UID PID CMD\nroot 7 sh\nroot 70 7\n";
        assert_eq!(
            super::select(text, &[7]).unwrap(),
            "UID PID CMD\nroot 7 sh\n"
        );
        assert!(super::select("UID CMD\n", &[7]).is_err());
    }
}
