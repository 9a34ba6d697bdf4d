//! What a filter says to system calls that are younger than its profile.
//!
//! A profile names the calls that its author knew. To what came later its default is an error such as
//! EPERM, which a C library takes for a refusal; of a call that the kernel does not have, ENOSYS, it knows
//! to use an older one. runc has done so since 1.0.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction};
use rustix::io::Errno;

/// Where the kernel has the number of a call, and its architecture, in what it shows a filter.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// What a filter answers to have a call fail with an error: `SECCOMP_RET_ERRNO`.
const FAIL: u32 = 0x0005_0000;

/// From here on numbers of x86-64 are of its 32-bit kind, x32.
const X32: u32 = 0x4000_0000;

/// The instructions of BPF that are used: their codes in `<linux/bpf_common.h>`.
#[derive(Clone, Copy)]
enum Code {
    Load = 0x20,
    Jump = 0x05,
    JumpIfEqual = 0x15,
    JumpIfGreater = 0x25,
    JumpIfAtLeast = 0x35,
    Return = 0x06,
}

/// An instruction, of which `jumps` tells how many are skipped if its condition holds, and if not.
struct Instruction {
    code: Code,
    jumps: (u8, u8),
    value: u32,
}

/// What comes before the filter of a profile: nothing, if the profile leaves nothing open.
pub(super) fn stub(profile: &LinuxSeccomp) -> Vec<u8> {
    let is_permitted = matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog
    );
    let nosys = Errno::NOSYS.raw_os_error().unsigned_abs();
    if is_permitted || profile.default_errno_ret() == Some(nosys) {
        return Vec::new();
    }
    let mut architectures = vec![ScmpArch::native()];
    architectures.extend(profile.architectures().iter().flatten().map(of_spec));
    architectures.sort_by_key(|arch| audited(*arch));
    architectures.dedup();
    let known = architectures
        .into_iter()
        .filter_map(|arch| Some((audited(arch)?, arch, youngest(profile, arch)?)));
    let blocks: Vec<_> = known
        .map(|(audited, arch, youngest)| block(audited, arch, youngest, nosys))
        .collect();
    let mut left: u32 = blocks.iter().map(|block| length(block)).sum();
    if left == 0 {
        return Vec::new();
    }
    let mut program = bytes(&Instruction {
        code: Code::Load,
        jumps: (0, 0),
        value: ARCHITECTURE,
    });
    for block in blocks {
        left -= length(&block);
        program.extend(block.iter().flat_map(bytes));
        // To the filter itself: what was loaded is another value now than the next block looks at.
        let end = Instruction {
            code: Code::Jump,
            jumps: (0, 0),
            value: left,
        };
        program.extend(bytes(&end));
    }
    program
}

/// With the jump to its end.
fn length(block: &[Instruction]) -> u32 {
    u32::try_from(block.len()).map_or(0, |length| length + 1)
}

/// For one architecture: calls with a number above `youngest` fail.
fn block(audited: u32, arch: ScmpArch, youngest: u32, errno: u32) -> Vec<Instruction> {
    let is_x86_64 = arch == ScmpArch::X8664;
    let instruction = |code, jumps, value| Instruction { code, jumps, value };
    let mut block = vec![
        instruction(
            Code::JumpIfEqual,
            (0, if is_x86_64 { 5 } else { 4 }),
            audited,
        ),
        instruction(Code::Load, (0, 0), NUMBER),
    ];
    if is_x86_64 {
        block.push(instruction(Code::JumpIfAtLeast, (2, 0), X32));
    }
    block.push(instruction(Code::JumpIfGreater, (0, 1), youngest));
    block.push(instruction(Code::Return, (0, 0), FAIL | errno));
    block
}

fn bytes(instruction: &Instruction) -> Vec<u8> {
    let (then, otherwise) = instruction.jumps;
    let code = u16::to_ne_bytes(instruction.code as u16);
    let mut bytes = code.to_vec();
    bytes.extend([then, otherwise]);
    bytes.extend(instruction.value.to_ne_bytes());
    bytes
}

/// The highest number of a call that the profile names.
fn youngest(profile: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let calls = profile.syscalls().iter().flatten();
    let names = calls.flat_map(|call| call.names());
    // Those of other architectures have negative numbers.
    let number = |name: &String| {
        let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
        u32::try_from(call.as_raw_syscall()).ok()
    };
    names.filter_map(number).max()
}

fn of_spec(arch: &Arch) -> ScmpArch {
    super::architecture(*arch)
}

/// What the kernel calls an architecture in `<linux/audit.h>`; of others nothing is said.
fn audited(arch: ScmpArch) -> Option<u32> {
    Some(match arch {
        ScmpArch::X8664 => 0xc000_003e,
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::Aarch64 => 0xc000_00b7,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Riscv64 => 0xc000_00f3,
        ScmpArch::S390X => 0x8000_0016,
        ScmpArch::Ppc64Le => 0xc000_0015,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::stub;
    use libseccomp::ScmpSyscall;
    use oci_spec::runtime::LinuxSeccomp;
    use std::process::Command;

    /// The error that a call fails with below a filter which names all calls of an older kernel, and
    /// refuses the rest with 28.
    fn errno(call: i32, errno_of_default: u32) -> String {
        let names: Vec<_> = (0..300)
            .filter_map(|number| ScmpSyscall::from_raw_syscall(number).get_name().ok())
            .filter(|name| name != "getpgid")
            .chain(["rseq".to_owned(), "prlimit64".to_owned()])
            .collect();
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno_of_default,
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        });
        let filter = Filter::of(&serde_json::from_value(profile).unwrap()).unwrap();
        let done = std::thread::spawn(move || {
            // For this thread, and the program that it runs.
            rustix::thread::set_no_new_privs(true).unwrap();
            drop(filter.load().unwrap());
            let script = format!("syscall({call}, 0); print $!+0");
            Command::new("perl").args(["-e", &script]).output()
        });
        String::from_utf8(done.join().unwrap().unwrap().stdout).unwrap()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_call_that_is_younger_than_the_profile_is_not_there() {
        const GETPGID: i32 = 121;
        assert_eq!(errno(1000, 28), "38");
        assert_eq!(errno(GETPGID, 28), "28");
    }

    #[test]
    fn a_profile_that_permits_or_says_so_itself_needs_none() {
        let profile = |json: &str| -> LinuxSeccomp { serde_json::from_str(json).unwrap() };
        let calls = r#""syscalls":[{"names":["mkdir","clone3"],"action":"SCMP_ACT_ERRNO"}]"#;
        for json in [
            format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{calls}}}"#),
            format!(r#"{{"defaultAction":"SCMP_ACT_LOG",{calls}}}"#),
            format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,{calls}}}"#),
            r#"{"defaultAction":"SCMP_ACT_KILL"}"#.to_owned(),
        ] {
            assert!(stub(&profile(&json)).is_empty(), "{json}");
        }
        let kills = format!(r#"{{"defaultAction":"SCMP_ACT_KILL",{calls}}}"#);
        assert!(!stub(&profile(&kills)).is_empty());
    }
}
