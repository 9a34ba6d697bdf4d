//! In a process of its own, since it reaps what others would wait for.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use medley_sys::{child, children};

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// The pid of a process that a shell has left behind, and that is about to end.
#[allow(clippy::unwrap_used, reason = "a part of the test below")]
fn orphan() -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "sleep 0.01 & echo $!"])
        .stdout(Stdio::piped());
    let mut shell = children::spawn(&mut shell).unwrap();
    let mut orphan = String::new();
    let stdout = shell.stdout.take().unwrap();
    // The orphan holds the pipe as well: this is its end.
    std::io::Read::read_to_string(&mut std::io::BufReader::new(stdout), &mut orphan).unwrap();
    assert!(children::wait(&mut shell).unwrap().success());
    orphan.trim().to_owned()
}

#[test]
fn orphans_are_reaped_while_one_that_is_awaited_has_ended() {
    child::become_subreaper().unwrap();
    // The first of our children to end, which the kernel names before all others.
    let mut kept = children::spawn(&mut Command::new("true")).unwrap();
    let handle = medley_sys::pidfd::PidFd::open(kept.id().try_into().unwrap()).unwrap();
    assert!(handle.wait_for_end(None).unwrap());

    let orphan = orphan();
    let mut reaped = 0;
    while is_there(&orphan) {
        reaped += children::reap_orphans().unwrap();
        std::thread::yield_now();
    }
    assert_eq!(reaped, 1);
    assert!(is_there(&kept.id().to_string()));
    assert!(children::wait(&mut kept).unwrap().success());

    // One that no caller waits for has a handle all the same, which tells its end.
    #[allow(clippy::zombie_processes, reason = "reaped as an orphan")]
    let make = || Ok(Command::new("true").spawn()?.id().try_into().unwrap());
    let process = children::orphan(make).unwrap();
    assert!(process.wait_for_end(Some(Duration::from_secs(60))).unwrap());
    assert_eq!(children::reap_orphans().unwrap(), 1);
    assert_eq!(children::reap_orphans().unwrap(), 0);

    no_other_waits_for_a_program_that_takes_long_to_load();
}

/// One whose file system does not answer, for example.
#[expect(clippy::unwrap_used, reason = "part of the test above")]
fn no_other_waits_for_a_program_that_takes_long_to_load() {
    let (gate, opener) = std::io::pipe().unwrap();
    let (mut loads, loading) = std::io::pipe().unwrap();
    let mut slow = Command::new("true");
    let load = move || {
        rustix::io::write(&loading, b"+")?;
        rustix::io::read(&gate, &mut [0])?;
        Ok(())
    };
    #[allow(
        unsafe_code,
        clippy::disallowed_methods,
        reason = "no other way holds a child up before its exec"
    )]
    // SAFETY: two system calls.
    unsafe {
        slow.pre_exec(load);
    }
    let slow = std::thread::spawn(move || children::spawn(&mut slow).unwrap());
    std::io::Read::read_exact(&mut loads, &mut [0]).unwrap();

    // Another one lives its life meanwhile.
    let mut other = children::spawn(&mut Command::new("true")).unwrap();
    assert!(children::wait(&mut other).unwrap().success());
    let orphan = Path::new("/proc").join(orphan()).join("stat");
    let ended = |stat: String| stat.contains(") Z ");
    while !std::fs::read_to_string(&orphan).is_ok_and(ended) {
        std::thread::yield_now();
    }
    assert_eq!(children::reap_orphans().unwrap(), 0);

    // The caller that was in the way reaps it, without being asked again.
    rustix::io::write(&opener, b"+").unwrap();
    let mut slow = slow.join().unwrap();
    assert!(!orphan.exists());
    assert!(children::wait(&mut slow).unwrap().success());
}
