//! Having a module compiled, and saying why it could not be.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use medley_dispatch::WasmPlan;
use medley_engine::Form;
use rustix::fs::SealFlags;
use rustix::process::{Resource, Signal};

use super::{Error, Host, code_source, helper_client};
use crate::helper::compile::{CPU_SECONDS, MAX_MEMORY, allowed};
use crate::helper::log_file;
use crate::protocol::{CompileOrder, Reply, Request};

/// Longest time for one module. The compiler's processor time is limited too; this one is for a
/// compiler that does nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(2 * CPU_SECONDS);

/// What nobody can do any more to native code that a compiler gave.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK);

/// Native code, and what it turned out to be.
pub(super) struct Compiled {
    pub(super) code: OwnedFd,
    pub(super) form: Form,
}

/// Compiles `module` as `plan` says.
pub(super) fn compile(host: &Host, plan: &WasmPlan, module: &File) -> Result<Compiled, Error> {
    let request = Request::Compile(CompileOrder {
        engine: plan.engine,
        entry: code_source::entry(plan),
    });
    let started = Instant::now();
    let told = helper_client::run(host, &request, &[module.as_fd()], Some(PATIENCE))?;
    let failed = |reason: String| Error::Compile {
        path: plan.module.clone(),
        reason,
    };
    let (reply, fds) = match told.answer {
        Ok(answer) => answer,
        Err(_) => return Err(failed(why(&told.end, &told.log))),
    };
    let (form, code) = match (
        helper_client::accept(reply, &told.log)?,
        fds.into_iter().next(),
    ) {
        (Reply::Compiled { form }, Some(code)) => (form, code),
        _ => return Err(failed("the compiler gave no native code".to_owned())),
    };
    // What compiled hostile bytes may be hostile by now. It is dead, but may have left somebody a
    // way to change what it gave.
    let sealed = rustix::fs::fcntl_get_seals(&code).is_ok_and(|seals| seals.contains(SEALS));
    if !sealed {
        return Err(failed(
            "the compiler gave native code that may change".to_owned(),
        ));
    }
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

fn size(file: impl AsFd) -> i64 {
    rustix::fs::fstat(file).map_or(-1, |found| found.st_size)
}

/// Why there is no answer, and what would help.
fn why(end: &helper_client::End, log: &str) -> String {
    const MIB: u64 = 1 << 20;
    let status = match end {
        helper_client::End::TimedOut => {
            return format!(
                "the compiler was stopped after {} s; a module that is less complex, or a node that \
                 is less busy, would do",
                PATIENCE.as_secs()
            );
        }
        helper_client::End::Exited(status) => *status,
    };
    let cause = log_file::cause(log);
    let aborted = signal(status) == Some(Signal::ABORT.as_raw());
    if aborted && cause.is_some_and(|cause| cause.contains("memory allocation of")) {
        return format!(
            "the compiler needs more than the {} MiB of memory that it may have; a module with \
             smaller functions would do",
            allowed(Resource::Data, MAX_MEMORY) / MIB
        );
    }
    match signal(status).and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => format!(
            "the compiler needs more than the {} s of processor time that it may have; a module \
             that is less complex would do",
            allowed(Resource::Cpu, CPU_SECONDS)
        ),
        Some(Signal::KILL) => "the compiler was killed, most likely because the node ran out of \
                               memory; try again when there is more"
            .to_owned(),
        _ => {
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            format!(
                "the compiler ended with {status}{cause}; the module is more than this engine can \
                 take, try another version or engine"
            )
        }
    }
}

fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

#[cfg(test)]
mod tests {
    use super::why;
    use crate::shim::helper_client::End;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn told(signal: i32, log: &str) -> String {
        why(&End::Exited(ExitStatus::from_raw(signal)), log)
    }

    #[test]
    fn every_end_of_a_compiler_says_what_would_help() {
        let abort = rustix::process::Signal::ABORT.as_raw();
        let xcpu = rustix::process::Signal::XCPU.as_raw();
        let kill = rustix::process::Signal::KILL.as_raw();
        assert!(told(abort, "memory allocation of 64 bytes failed\n").contains("MiB of memory"));
        assert!(told(xcpu, "").contains("processor time"));
        assert!(told(kill, "").contains("out of memory"));
        let overflow = told(abort, "thread 'main' has overflowed its stack\n");
        assert!(overflow.contains("overflowed its stack"), "{overflow}");
        assert!(why(&End::TimedOut, "").contains("stopped after"));
    }
}
