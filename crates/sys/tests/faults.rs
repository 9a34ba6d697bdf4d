//! In processes of their own, which end by what is tested.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use medley_sys::signals::{FAULT, tell_faults};
use rustix::process::{Pid, Signal};

const ENDS: &str = "MEDLEY_TEST_ENDS";

/// Runs the test `name` in a process that ends as it says.
#[expect(clippy::unwrap_used, reason = "part of the tests below")]
fn run(name: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ENDS, "")
        .output()
        .unwrap()
}

fn told(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().any(|line| line == FAULT)
}

#[test]
fn a_fault_is_told_and_ends_the_process() {
    if std::env::var_os(ENDS).is_some() {
        tell_faults().unwrap();
        // SAFETY: it is what is tested.
        #[allow(unsafe_code, reason = "safe code has no faults")]
        unsafe {
            std::ptr::without_provenance_mut::<u8>(64).write_volatile(0);
        }
    }
    let output = run("a_fault_is_told_and_ends_the_process");
    assert_eq!(output.status.signal(), Some(Signal::SEGV.as_raw()));
    assert!(told(&output), "{output:?}");
}

#[test]
fn a_signal_of_a_fault_that_was_sent_is_none() {
    if std::env::var_os(ENDS).is_some() {
        tell_faults().unwrap();
        let own = Pid::from_raw(std::process::id().try_into().unwrap()).unwrap();
        loop {
            rustix::process::kill_process(own, Signal::SEGV).unwrap();
        }
    }
    let output = run("a_signal_of_a_fault_that_was_sent_is_none");
    assert_eq!(output.status.signal(), Some(Signal::SEGV.as_raw()));
    assert!(!told(&output), "{output:?}");
}

#[test]
fn a_stack_that_overflows_says_both() {
    #[allow(unconditional_recursion, reason = "it is what is tested")]
    fn overflow(depth: u64) -> u64 {
        std::hint::black_box(depth) + overflow(depth + 1)
    }
    if std::env::var_os(ENDS).is_some() {
        tell_faults().unwrap();
        overflow(0);
    }
    let output = run("a_stack_that_overflows_says_both");
    assert_eq!(output.status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(told(&output), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("overflowed its stack"));
}
