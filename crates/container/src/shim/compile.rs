//! Having a module compiled, and saying why it could not be.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use medley_dispatch::{EngineKind, WasmPlan};
use medley_engine::{Form, NotSealed, TrustedCode};
use medley_sys::signals::FAULT;
use rustix::process::{Resource, Signal};

use super::compiler_limit::CompileContext;
use super::error::Error;
use super::helper_client::{CallError, HelperExit, HelperOutput};
use super::module::entry;
use crate::helper::compile::{CPU_SECONDS, MAX_MEMORY, allowed};
use crate::helper::log_file;
use crate::protocol::{self, Compile};
use medley_cgroup::compilers::{HitLimit, Need};

/// Longest time for one module. The compiler's processor time is limited too; this one is for a
/// compiler that does nothing.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2 * CPU_SECONDS);

const MIB: u64 = 1 << 20;

/// Native code, and what it turned out to be.
pub(super) struct Compiled {
    pub(super) code: TrustedCode,
    pub(super) form: Form,
}

/// Why there is no native code.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Why there will be none the next time.
    pub(super) lasting: Option<Lasting>,
}

/// Why a module can't be compiled, as often as it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// The engine says what is wrong with it.
    UnfitModule,
    /// It is more than a compiler may take, or than the engine's stands.
    TooMuch,
}

impl Lasting {
    /// What is said, at the next time, besides what happened: of what may end otherwise on a machine
    /// that is quicker, or in better repair, for all that is known.
    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::UnfitModule => "",
            Self::TooMuch => {
                "; it is not tried again before `containerd-shim-wasm-v1 cache prune` forgets that"
            }
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let lasting = matches!(error, Error::UnfitModule { .. }).then_some(Lasting::UnfitModule);
        Self { error, lasting }
    }
}

/// Compiles `module` as `plan` says, when it is its turn.
pub(super) fn compile(
    context: &CompileContext<'_>,
    plan: &WasmPlan,
    module: &File,
) -> Result<Compiled, Failed> {
    let turn = context.turn(&plan.module)?;
    let started = Instant::now();
    let cgroups = context.cgroups();
    let need = need(plan.engine, u64::try_from(size(module)).unwrap_or_default());
    let helper = context.images.helpers.start(Some(plan.engine))?;
    let placed = cgroups.place(helper.pid(), need);
    let call = Compile {
        engine: plan.engine,
        entry: entry(plan),
        module: module.as_fd(),
    };
    let reply = helper.send(call).wait_for(TIMEOUT, || ());
    drop(turn);
    let met = placed
        .as_ref()
        .and_then(|placed| Some((placed.killed_for()?, placed.by_pod)));
    drop(placed);
    let failed = |reason: String| Error::Compile {
        path: plan.module.clone(),
        reason,
    };
    let protocol::Compiled { form, code } = match reply {
        Ok(compiled) => compiled,
        Err(CallError::NoReply(HelperOutput {
            exit, time, log, ..
        })) => {
            let (reason, lasting) = why(exit, time, &log, met);
            let error = failed(reason);
            return Err(Failed { error, lasting });
        }
        Err(CallError::Failed(error)) => return Err(error.into()),
    };
    let code = trusted(code).map_err(|error| failed(error.to_string()))?;
    log::info!(
        "compiled engine={} module={:?} bytes={} native={} ms={}",
        plan.engine,
        plan.module,
        size(module),
        size(&code),
        started.elapsed().as_millis(),
    );
    Ok(Compiled { code, form })
}

/// What the compiler gave, as code that may be executed.
#[allow(unsafe_code, reason = "what is in the file will be executed")]
fn trusted(code: OwnedFd) -> Result<TrustedCode, NotSealed> {
    // SAFETY: it came from the compiler that `compile` has just run.
    unsafe { TrustedCode::from_compiler(code) }
}

fn size(file: impl AsFd) -> i64 {
    rustix::fs::fstat(file).map_or(-1, |found| found.st_size)
}

/// Why there is no answer, and what would help; and whether it will be so the next time. That is
/// remembered on the word of the compiler and of the kernel, and not on a signal's, which a process
/// with the right to could send: `time` is the processor time that the compiler took.
fn why(
    exit: HelperExit,
    time: Duration,
    log: &str,
    met: Option<(HitLimit, bool)>,
) -> (String, Option<Lasting>) {
    let status = match exit {
        HelperExit::TimedOut(timeout) => {
            let reason = format!(
                "the compiler was stopped after {} s; a module that is less complex, or a node that \
                 is less busy, would do",
                timeout.as_secs()
            );
            return (reason, None);
        }
        HelperExit::Exited(status) => status,
    };
    let by_fault = log.lines().any(|line| line == FAULT);
    let log: Vec<_> = log.lines().filter(|line| *line != FAULT).collect();
    let log = log.join("\n");
    let cause = log_file::cause(&log);
    let aborted = signal(status) == Some(Signal::ABORT.as_raw());
    if aborted && cause.is_some_and(|cause| cause.contains("memory allocation of")) {
        let limit = allowed(Resource::Data, MAX_MEMORY);
        let reason = format!(
            "the compiler needs more than the {} MiB of memory that it may have; a module with \
             smaller functions would do",
            limit / MIB
        );
        return (reason, lasts(limit == MAX_MEMORY && !counts_promises()));
    }
    match signal(status).and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) if time >= enough_time() => {
            let limit = allowed(Resource::Cpu, CPU_SECONDS);
            let reason = format!(
                "the compiler needs more than the {limit} s of processor time that it may have; a \
                 module that is less complex would do"
            );
            (reason, lasts(limit == CPU_SECONDS))
        }
        Some(Signal::KILL) => (killed(met), None),
        ended => {
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            let reason = format!(
                "the compiler ended with {status}{cause}; the module is more than this engine can \
                 take, try another version or engine"
            );
            (reason, lasts(by_fault && ended == Some(Signal::SEGV)))
        }
    }
}

/// Why a compiler was killed: by a limit, of its pod if that is said, or for want of memory.
fn killed(met: Option<(HitLimit, bool)>) -> String {
    let Some((HitLimit { cgroup, limit }, by_pod)) = met else {
        return "the compiler was killed, most likely because the node ran out of memory; try again \
                when there is more"
            .to_owned();
    };
    let (limit, cgroup) = (limit / MIB, cgroup.display());
    if by_pod {
        format!(
            "the compiler was killed, as it needs more memory than the limit of {limit} MiB of its \
             pod leaves ({cgroup}); raise the limit, or compile the module before, by \
             `containerd-shim-wasm-v1 cache warm` on the node"
        )
    } else {
        format!(
            "the compiler was killed, as the compilers of this node need more memory than the \
             {limit} MiB that they may have together ({cgroup}); try again when fewer run, or \
             compile the module on a larger node"
        )
    }
}

/// What a compiler takes for a module of this size, if that is one like others. For six programs of 1
/// to 26 MB Wasmtime's took 5 to 35 bytes for each of the module's, and 0.02 to 1.2 s for each MB; one
/// that goes by LLVM takes several times as much.
fn need(engine: EngineKind, bytes: u64) -> Need {
    const BASE: (u64, u64) = (32 * MIB, 1000);
    /// Bytes for each byte, and milliseconds for each MB.
    const EACH: (u64, u64) = (32, 1500);
    const MB: u64 = 1_000_000;
    let times = engine.descriptor().compile_cost;
    let millis = bytes.saturating_mul(EACH.1 * times) / MB;
    Need {
        memory: bytes.saturating_mul(EACH.0 * times).saturating_add(BASE.0),
        cpu: Duration::from_millis(millis.saturating_add(BASE.1)),
    }
}

fn lasts(it_does: bool) -> Option<Lasting> {
    it_does.then_some(Lasting::TooMuch)
}

/// Whether this node gives no memory that it has promised to others, used or not: then there may be
/// more the next time.
fn counts_promises() -> bool {
    const OVERCOMMIT: &str = "/proc/sys/vm/overcommit_memory";
    std::fs::read_to_string(OVERCOMMIT).map_or(true, |mode| mode.trim() == "2")
}

/// The least processor time of a compiler that was ended for it. The kernel counts whole ticks where a
/// limit is concerned, and tells a sum that is exact: on a busy machine the two differ.
fn enough_time() -> Duration {
    Duration::from_secs(allowed(Resource::Cpu, CPU_SECONDS)) / 2
}

fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

#[cfg(test)]
mod tests {
    use super::{FAULT, HitLimit, Lasting, TIMEOUT, enough_time, why};
    use crate::helper::compile::{CPU_SECONDS, MAX_MEMORY, allowed};
    use crate::shim::helper_client::HelperExit;
    use rustix::process::{Resource, Signal};
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    /// Of a compiler that took all its time.
    fn told(signal: Signal, log: &str) -> (String, Option<Lasting>) {
        let end = HelperExit::Exited(ExitStatus::from_raw(signal.as_raw()));
        why(end, enough_time(), log, None)
    }

    fn timed_out() -> (String, Option<Lasting>) {
        why(HelperExit::TimedOut(TIMEOUT), Duration::ZERO, "", None)
    }

    #[test]
    fn every_end_of_a_compiler_says_what_would_help() {
        let said = |signal, log| told(signal, log).0;
        let memory = said(Signal::ABORT, "memory allocation of 64 bytes failed\n");
        assert!(memory.contains("MiB of memory"), "{memory}");
        assert!(said(Signal::XCPU, "").contains("processor time"));
        assert!(said(Signal::KILL, "").contains("out of memory"));
        let overflow = said(Signal::ABORT, "thread 'main' has overflowed its stack\n");
        assert!(overflow.contains("overflowed its stack"), "{overflow}");
        let log = format!("{FAULT}\nthread 'main' has overflowed its stack\n");
        let overflow = said(Signal::ABORT, &log);
        assert!(overflow.contains("overflowed its stack"), "{overflow}");
        assert!(timed_out().0.contains("stopped after"));
    }

    #[test]
    fn a_compiler_killed_for_a_limit_names_the_limit_and_a_cure() {
        let killed = ExitStatus::from_raw(Signal::KILL.as_raw());
        let said = |by_pod| {
            let met = HitLimit {
                cgroup: "/sys/fs/cgroup/kubepods/pod1".into(),
                limit: 64 << 20,
            };
            let (said, lasting) = why(
                HelperExit::Exited(killed),
                Duration::ZERO,
                "",
                Some((met, by_pod)),
            );
            assert_eq!(lasting, None);
            assert!(
                said.contains("64 MiB") && said.contains("/kubepods/pod1"),
                "{said}"
            );
            said
        };
        assert!(said(true).contains("raise the limit") && said(true).contains("cache warm"));
        assert!(said(false).contains("of this node"));
    }

    #[test]
    fn only_what_no_other_try_can_change_is_remembered() {
        let lasts = |signal, log| told(signal, log).1.is_some();
        assert!(told(Signal::SEGV, &format!("{FAULT}\n")).1.is_some());
        // By our own limits, and not by lower ones that this process was given.
        let is_ours = |resource, max| allowed(resource, max) == max;
        assert_eq!(lasts(Signal::XCPU, ""), is_ours(Resource::Cpu, CPU_SECONDS));
        let failed = "memory allocation of 64 bytes failed\n";
        assert_eq!(
            lasts(Signal::ABORT, failed),
            is_ours(Resource::Data, MAX_MEMORY) && !super::counts_promises()
        );
        assert!(!lasts(Signal::KILL, ""));
        assert!(!lasts(
            Signal::ABORT,
            "thread 'main' has overflowed its stack\n"
        ));
        assert!(!lasts(Signal::TERM, ""));
        assert!(timed_out().1.is_none());
        let exited = HelperExit::Exited(ExitStatus::from_raw(1 << 8));
        assert!(why(exited, enough_time(), "", None).1.is_none());
    }

    #[test]
    fn what_a_signal_says_that_was_sent_is_not_remembered() {
        assert!(told(Signal::SEGV, "").1.is_none());
        let end = HelperExit::Exited(ExitStatus::from_raw(Signal::XCPU.as_raw()));
        let (said, lasting) = why(end, Duration::from_secs(1), "", None);
        assert!(!said.contains("processor time"), "{said}");
        assert_eq!(lasting, None);
    }
}
