//! Between the Task API and the containers of this node: what may block goes to a thread.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use medley_cgroup::OomWatch;
use medley_container::shim::{self, ContainerManager, Exec, Settings};
use medley_io::{Owner, Stdio};
use medley_sys::pidfd::Ended;
use medley_task::error::Cause;
use medley_task::runtime::{CallError, KillError};
use medley_task::{Container, CreateRequest, ExecRequest, Exit, Process, Runtime, Sandbox, Size};
use medley_types::metrics::Metrics;
use medley_types::sandbox::PodRequest;

use crate::options::{CacheFolder, RuntimeOptions};
use crate::pod::LocalPod;
use crate::process::{self, LocalProcess};

/// Exit status of a process whose real one could not be learnt.
pub(crate) const UNKNOWN: u32 = 255;

/// Pause before looking again at a process that can't be watched.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Pause before looking again for a kill that the kernel has announced.
const KILL_LOOK_AGAIN: Duration = Duration::from_millis(10);

const SIGKILL: i32 = 9;

/// Makes containers on this node.
pub(crate) struct LocalRuntime {
    manager: Arc<ContainerManager>,
    /// containerd's.
    namespace: Arc<str>,
    defaults: Defaults,
}

/// What counts for containers whose options say nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) cache: CacheFolder,
    /// How many compilers may run at a time; told from the node, if `None`.
    pub(crate) compilers: Option<NonZeroU32>,
}

impl LocalRuntime {
    pub(crate) fn new(manager: Arc<ContainerManager>, namespace: &str, defaults: Defaults) -> Self {
        Self {
            manager,
            namespace: namespace.into(),
            defaults,
        }
    }

    /// What the runtime options, read by a thread that may wait for a file, say of container `id`.
    fn settings(
        defaults: Defaults,
        id: &str,
        options: Option<&(String, Vec<u8>)>,
    ) -> Result<Settings, Cause> {
        let options = match options {
            Some((kind, bytes)) => RuntimeOptions::parse(kind, bytes)?,
            None => RuntimeOptions::default(),
        };
        options.log(id);
        Ok(Settings {
            cache: options.cache.unwrap_or(defaults.cache).folder(),
            default_engine: options.default_engine,
            no_pivot_root: options.no_pivot_root,
            systemd_cgroup: options.systemd_cgroup,
            stack: options.stack,
            no_new_keyring: options.no_new_keyring,
            compilers: options.compilers.or(defaults.compilers),
        })
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    async fn create(&self, request: CreateRequest) -> Result<Arc<dyn Container>, Cause> {
        let owner = Owner {
            id: request.id.clone(),
            namespace: self.namespace.to_string(),
        };
        let manager = Arc::clone(&self.manager);
        let defaults = self.defaults.clone();
        let created = blocking(move || {
            let request = shim::CreateRequest {
                settings: Self::settings(defaults, &request.id, request.options.as_ref())?,
                id: request.id,
                bundle: request.bundle,
                rootfs: request.rootfs,
                cancel: request.cancel,
                stdio: Stdio {
                    stdin: request.stdin,
                    stdout: request.stdout,
                    stderr: request.stderr,
                    terminal: request.terminal,
                    owner,
                },
            };
            Ok::<_, Cause>(manager.create(request)?)
        })
        .await?;
        Ok(Arc::new(LocalContainer {
            created: Arc::new(created),
            namespace: Arc::clone(&self.namespace),
        }))
    }

    async fn create_sandbox(&self, request: PodRequest) -> Result<Arc<dyn Sandbox>, Cause> {
        let manager = Arc::clone(&self.manager);
        let pod = blocking(move || manager.create_sandbox(request)).await?;
        Ok(Arc::new(LocalPod::new(pod)))
    }
}

struct LocalContainer {
    created: Arc<shim::Container>,
    namespace: Arc<str>,
}

impl LocalContainer {
    async fn ended(&self) -> io::Result<Ended> {
        let quick = self.created.reaping_is_quick();
        process::ended(self.created.init(), || {
            let created = Arc::clone(&self.created);
            let reap = move || created.try_reap();
            async move {
                if quick {
                    reap()
                } else {
                    tokio::task::spawn_blocking(reap)
                        .await
                        .map_err(io::Error::other)?
                }
            }
        })
        .await
    }
}

#[async_trait]
impl Process for LocalContainer {
    fn pid(&self) -> u32 {
        u32::try_from(self.created.init().pid()).unwrap_or_default()
    }

    async fn start(&self) -> Result<(), CallError> {
        let created = Arc::clone(&self.created);
        let started = blocking(move || created.start());
        started.await.map_err(CallError::Failed)
    }

    async fn kill(&self, signal: u32) -> Result<(), KillError> {
        let failed = |source: Cause| KillError::Other { signal, source };
        let number = i32::try_from(signal).map_err(|error| failed(error.into()))?;
        process::signal(self.created.init(), signal)?;
        if number == SIGKILL {
            self.created.thaw_for_kill();
        }
        Ok(())
    }

    async fn exited(&self) -> Exit {
        let status = match self.ended().await {
            Ok(ended) => ended.status(),
            Err(error) => {
                log::error!("process {}: its end can't be watched: {error}", self.pid());
                // Better a late status, or an unknown one, than a container that never ends.
                loop {
                    match self.created.try_reap() {
                        Ok(Some(ended)) => break ended.status(),
                        Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
                        Err(_) => {
                            self.created.abandon();
                            break UNKNOWN;
                        }
                    }
                }
            }
        };
        let at = SystemTime::now();
        // A client that hears of the end takes the output until then for all of it.
        self.created.stdio().settle().await;
        Exit { status, at }
    }

    async fn resize(&self, size: Size) -> Result<(), CallError> {
        process::resize(self.created.stdio(), size)
    }

    fn close_stdin(&self) {
        self.created.stdio().close_stdin();
    }

    async fn delete(&self) -> Result<(), Cause> {
        self.created.stdio().close().await;
        let created = Arc::clone(&self.created);
        blocking(move || created.delete()).await
    }
}

#[async_trait]
impl Container for LocalContainer {
    async fn kill_all(&self, signal: u32) -> Result<(), KillError> {
        let failed = |source: Cause| KillError::Other { signal, source };
        let number = i32::try_from(signal).map_err(|error| failed(error.into()))?;
        self.created
            .signal_all(number)
            .map_err(|error| failed(error.into()))
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn Process>, CallError> {
        let owner = Owner {
            id: request.exec_id,
            namespace: self.namespace.to_string(),
        };
        let request = shim::ExecRequest {
            process: request.process,
            stdio: Stdio {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
                owner,
            },
        };
        let created = Arc::clone(&self.created);
        let exec = tokio::task::spawn_blocking(move || Exec::new(&created, request))
            .await
            .map_err(|error| CallError::Failed(error.into()))?
            .map_err(|error| match error {
                error @ (shim::Error::Process { .. }
                | shim::Error::Environment(_)
                | shim::Error::Terminal { .. }) => CallError::Invalid(error.into()),
                error @ shim::Error::Ended { .. } => CallError::Precondition(error.into()),
                error => CallError::Failed(error.into()),
            })?;
        Ok(Arc::new(LocalProcess::new(exec, Arc::clone(&self.created))))
    }

    async fn pause(&self) -> Result<(), Cause> {
        let created = Arc::clone(&self.created);
        blocking(move || created.pause()).await
    }

    async fn resume(&self) -> Result<(), Cause> {
        let created = Arc::clone(&self.created);
        blocking(move || created.resume()).await
    }

    async fn update(&self, resources: Vec<u8>) -> Result<(), CallError> {
        let created = Arc::clone(&self.created);
        tokio::task::spawn_blocking(move || created.update(&resources))
            .await
            .map_err(|error| CallError::Failed(error.into()))?
            .map_err(|error| {
                if error.is_invalid_argument() {
                    CallError::Invalid(error.into())
                } else if error.is_failed_precondition() {
                    CallError::Precondition(error.into())
                } else {
                    CallError::Failed(error.into())
                }
            })
    }

    async fn pids(&self) -> Result<Vec<u32>, Cause> {
        Ok(self.created.pids()?)
    }

    async fn metrics(&self) -> Result<Metrics, Cause> {
        Ok(self.created.metrics()?)
    }

    async fn memory_event(&self) {
        let Some(watch) = self.created.oom_watch() else {
            return std::future::pending().await;
        };
        if let Err(error) = oom_kill(watch).await {
            log::warn!("kills for want of memory can't be watched: {error}");
            std::future::pending().await
        }
    }

    async fn oom_killed(&self) -> bool {
        self.created.oom_watch().is_some_and(OomWatch::has_killed)
    }
}

/// Waits until `watch` has a kill to report.
async fn oom_kill(watch: &OomWatch) -> io::Result<()> {
    /// How long after the kernel has told that it will kill it is expected to have done so. What
    /// it does later is seen at the next event, or when the process ends.
    const KILL_EXPECTED: u32 = 50;
    let fd = medley_sys::watch::readable(watch.fd())?;
    loop {
        let mut ready = fd.readable().await?;
        ready.clear_ready();
        watch.drain();
        let looks = if watch.tells_ahead() {
            KILL_EXPECTED
        } else {
            1
        };
        for _ in 0..looks {
            if watch.would_report() {
                return Ok(());
            }
            if watch.tells_ahead() {
                tokio::time::sleep(KILL_LOOK_AGAIN).await;
            }
        }
    }
}

/// Runs `work` on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static, E: Into<Cause> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}
