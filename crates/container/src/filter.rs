//! A seccomp filter that is made in one process and put in force in another: made while there are
//! still the node's rights and files, it takes a single system call where they are gone.
//!
//! libcontainer makes and loads a filter in one go, in the process that is to be under it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use medley_sys::seccomp;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};
use rustix::fs::MemfdFlags;

mod enosys;

/// What a call fails with if the profile does not say, which the OCI runtime spec has as EPERM.
const EPERM: u32 = 1;

/// Why a profile can't be made a filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the container's seccomp profile has an agent decide about {call} (SCMP_ACT_NOTIFY), which \
         is asked of the container's init and of Linux programs alone: no guest can be run beside it"
    )]
    Notify { call: String },
    #[error("the container's seccomp profile can't be made a filter: {what}")]
    Rule { what: String, source: SeccompError },
    #[error("the container's seccomp filter can't be kept")]
    Keep(#[source] io::Error),
}

/// A filter.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<u8>,
    flags: u32,
}

impl Filter {
    /// Makes the filter of a profile that has nothing for an agent.
    pub(crate) fn of(profile: &LinuxSeccomp) -> Result<Self, Error> {
        let calls = profile.syscalls().iter().flatten();
        let mut asked = calls.filter(|call| call.action() == LinuxSeccompAction::ScmpActNotify);
        match asked.next() {
            Some(call) => Err(Error::Notify {
                call: call.names().join(", "),
            }),
            None => Self::with_agent(profile),
        }
    }

    /// Makes the filter of a profile that may have something for an agent.
    pub(crate) fn with_agent(profile: &LinuxSeccomp) -> Result<Self, Error> {
        let default = action(profile.default_action(), profile.default_errno_ret());
        if default == ScmpAction::Notify {
            return Err(Error::Notify {
                call: "every call that it does not name".to_owned(),
            });
        }
        let mut context = ScmpFilterContext::new(default).map_err(rule("its default action"))?;
        for arch in profile.architectures().iter().flatten() {
            context
                .add_arch(architecture(*arch))
                .map_err(rule(&arch.to_string()))?;
        }
        for call in profile.syscalls().iter().flatten() {
            let action = action(call.action(), call.errno_ret());
            if action == default {
                continue;
            }
            let args = call.args().as_deref().unwrap_or_default();
            for name in call.names() {
                // One that this machine does not have can't be called.
                if let Ok(number) = ScmpSyscall::from_name(name) {
                    add(&mut context, action, number, args).map_err(rule(name))?;
                }
            }
        }
        // A tree instead of a list, where libseccomp can.
        if let Err(error) = context.set_ctl_optimize(2) {
            log::debug!("a seccomp filter stays a list: {error}");
        }
        let mut program = enosys::stub(profile);
        program.extend(export(&context)?);
        Ok(Self {
            program,
            flags: flags(profile),
        })
    }

    /// Those of `SECCOMP_SET_MODE_FILTER` that it is loaded with.
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }

    /// Puts the calling thread under it. Gives what it asks an agent by, if it asks one.
    pub(crate) fn load(&self) -> io::Result<Option<OwnedFd>> {
        medley_sys::seccomp::load(&self.program, self.flags)
    }

    /// Whether it asks an agent.
    pub(crate) fn asks(&self) -> bool {
        self.flags & seccomp::NEW_LISTENER != 0
    }
}

fn rule(what: &str) -> impl FnOnce(SeccompError) -> Error {
    let what = what.to_owned();
    move |source| Error::Rule { what, source }
}

/// Adds a rule for one call. An argument can stand in a rule once: one that is compared twice makes
/// a rule of each comparison, as with runc.
fn add(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    call: ScmpSyscall,
    args: &[LinuxSeccompArg],
) -> Result<(), SeccompError> {
    let comparisons: Vec<_> = args.iter().map(comparison).collect();
    let mut seen = HashSet::new();
    if args.iter().all(|arg| seen.insert(arg.index())) {
        return context
            .add_rule_conditional(action, call, &comparisons)
            .map(drop);
    }
    for one in &comparisons {
        context.add_rule_conditional(action, call, std::slice::from_ref(one))?;
    }
    Ok(())
}

/// What is compared: the value, but for a mask, which is the first of the two.
fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use LinuxSeccompOperator as Operator;
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or_default(),
        ),
    };
    ScmpArgCompare::new(
        u32::try_from(arg.index()).unwrap_or(u32::MAX),
        operator,
        value,
    )
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(EPERM);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => {
            ScmpAction::Errno(i32::try_from(errno).unwrap_or(i32::MAX))
        }
        LinuxSeccompAction::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(errno).unwrap_or(u16::MAX))
        }
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
    }
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

/// The flags of `<linux/seccomp.h>`. A profile that says nothing of them has the one that runc gives it: a
/// program under a filter is no slower than without one.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let by_default = [LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow];
    let flags = profile.flags().as_deref().unwrap_or(&by_default);
    let mut calls = profile.syscalls().iter().flatten();
    let asks = calls.any(|call| call.action() == LinuxSeccompAction::ScmpActNotify);
    let listener = if asks { seccomp::NEW_LISTENER } else { 0 };
    flags.iter().fold(listener, |all, flag| {
        all | match flag {
            // What loads it has a single thread.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
            // Of a listener alone.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if asks => 1 << 5,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, Error> {
    let made = rustix::fs::memfd_create("medley-filter", MemfdFlags::CLOEXEC);
    let mut file = File::from(made.map_err(|errno| Error::Keep(errno.into()))?);
    context.export_bpf(&file).map_err(rule("all of it"))?;
    let mut program = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(Error::Keep)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::{Error, Filter};
    use oci_spec::runtime::LinuxSeccomp;
    use std::process::Command;

    fn profile(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    /// The instructions' values: what is compared, and what is answered.
    fn values(filter: &Filter) -> Vec<u32> {
        let instructions = filter.program.chunks_exact(8);
        instructions
            .map(|one| u32::from_ne_bytes(one[4..].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_mask_is_the_first_of_two_values() {
        const MASK: u32 = 0x7e02_0000;
        let filter = Filter::of(&profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],
                "action":"SCMP_ACT_ALLOW",
                "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
        ))
        .unwrap();
        assert!(values(&filter).contains(&MASK), "{:x?}", values(&filter));
    }

    #[test]
    fn the_flags_and_the_errno_of_a_profile_are_kept() {
        let filter = Filter::of(&profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],"syscalls":[{"names":["getcwd","no_such_call"],
                "action":"SCMP_ACT_ERRNO","errnoRet":77}]}"#,
        ))
        .unwrap();
        assert_eq!(filter.flags, 6);
        const ERRNO: u32 = 0x0005_0000;
        assert!(values(&filter).contains(&(ERRNO | 77)));
    }

    #[test]
    fn an_agent_is_asked_where_it_can_be() {
        let profile = profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent","syscalls":[
                {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}],
                "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
        );
        let filter = Filter::with_agent(&profile).unwrap();
        assert!(filter.asks());
        assert_eq!(filter.flags, 8 | 32);
        let error = Filter::of(&profile).unwrap_err();
        assert!(matches!(error, Error::Notify { .. }));
        assert!(error.to_string().contains("mkdir"), "{error}");
    }

    #[test]
    fn a_filter_is_in_force_once_it_is_loaded() {
        let filter = Filter::of(&profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
        ))
        .unwrap();
        let done = std::thread::spawn(move || {
            // For this thread, and the program that it runs.
            rustix::thread::set_no_new_privs(true).unwrap();
            drop(filter.load().unwrap());
            Command::new("mkdir").arg("/tmp/medley-filtered").output()
        });
        let output = done.join().unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("No space left on device"), "{text}");
    }
}
