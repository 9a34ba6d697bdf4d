//! The usual test: a containerd of its own, one image in it, and one container of that.
//!
//! ```no_run
//! # use medley_test::{Result, Runtime, Scenario};
//! # async fn test(runtime: Runtime) -> Result<()> {
//! let done = Scenario::linux(runtime, "echo hello").finished().await?;
//! assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
//!
//! Scenario::linux(runtime, "sleep 3600").run(async |task| {
//!     assert_eq!(task.pids().await?, [task.pid]);
//!     Ok(())
//! }).await
//! # }
//! ```
//!
//! All that it makes is removed in the end, and the check for leftovers made, as [`Containerd::close`] does.

use crate::client::code;
use crate::stdio::Stdin;
use crate::{Client, Container, Containerd, Finished, Image, Options, Runtime, Spec, Task, images};
use anyhow::{Result, ensure};
use containerd_client::tonic::{Code, Status};
use containerd_client::types::v1::Status as State;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The id of the container of a [`Scenario`].
const ID: &str = "it";

/// What is to be run.
pub struct Scenario<'a> {
    options: Options,
    image: Result<Image>,
    change: Box<dyn FnOnce(Spec) -> Spec + 'a>,
    stdin: Stdin,
}

impl fmt::Debug for Scenario<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Scenario");
        all.field("options", &self.options);
        all.field("image", &self.image).finish_non_exhaustive()
    }
}

/// A started task of a [`Scenario`], with all that is around it.
#[derive(Debug)]
pub struct Running {
    task: Task,
    /// Its container.
    pub container: Container,
    /// Its image.
    pub image: Image,
    /// The client that made it.
    pub client: Client,
    /// The containerd that it runs under.
    pub containerd: Containerd,
}

impl Deref for Running {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Task {
        &mut self.task
    }
}

impl<'a> Scenario<'a> {
    /// A shell script in a Linux container.
    pub fn linux(runtime: Runtime, script: &str) -> Self {
        let args = ["/bin/sh", "-c", script].map(str::to_owned);
        Self::of(runtime, images::linux()).args(args)
    }

    /// A Wasm guest that is its image's entrypoint.
    pub fn wasm(name: &str, wasm: Result<Vec<u8>>) -> Self {
        let image = wasm.and_then(|wasm| images::wasm(name, &wasm));
        Self::of(Runtime::Medley, image)
    }

    /// The program of an image.
    pub fn of(runtime: Runtime, image: Result<Image>) -> Self {
        Self {
            options: Options::new(runtime),
            image,
            change: Box::new(|spec| spec),
            stdin: Stdin::None,
        }
    }

    /// Starts the containerd with these options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Changes the spec.
    #[must_use]
    pub fn spec(mut self, change: impl FnOnce(Spec) -> Spec + 'a) -> Self {
        let before = self.change;
        self.change = Box::new(|spec| change(before(spec)));
        self
    }

    /// Changes the spec's JSON.
    #[must_use]
    pub fn edit(self, change: impl FnOnce(&mut serde_json::Value) + 'a) -> Self {
        self.spec(|spec| spec.edit(change))
    }

    /// Replaces the arguments.
    #[must_use]
    pub fn args<S: Into<String>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        self.spec(|spec| spec.args(args))
    }

    /// Gives it an input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The first call that fails, or what was left behind.
    pub async fn finished(self) -> Result<Finished> {
        let (containerd, client, image) = Containerd::with_image(self.options, self.image?).await?;
        let spec = (self.change)(client.spec(&image, ID));
        let done = client.run_with(ID, &image, spec, self.stdin).await?;
        containerd.close().await?;
        Ok(done)
    }

    /// Has it refused, and returns the sentence that Create or Start failed with.
    ///
    /// # Errors
    /// It runs, or what was left behind.
    pub async fn refused(self) -> Result<Status> {
        let (containerd, client, image) = Containerd::with_image(self.options, self.image?).await?;
        let spec = (self.change)(client.spec(&image, ID));
        let status = client.refused(ID, &image, spec).await?;
        containerd.close().await?;
        Ok(status)
    }

    /// Starts it for a test, and takes it down after it: one that still runs then is killed, and has to end
    /// with 137.
    ///
    /// # Errors
    /// The test's, the first call that fails, or what was left behind.
    pub async fn run(self, test: impl AsyncFnOnce(&mut Running) -> Result<()>) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(self.options, self.image?).await?;
        let spec = (self.change)(client.spec(&image, ID));
        let container = client.create(ID, &image, spec).await?;
        let task = container.start(self.stdin).await?;
        let mut running = Running {
            task,
            container,
            image,
            client,
            containerd,
        };
        test(&mut running).await?;
        running.close().await
    }
}

impl Running {
    async fn close(mut self) -> Result<()> {
        match self.task.status().await {
            Ok(State::Stopped) => {
                self.task.output().await?;
                self.task.delete().await?;
            }
            Ok(_) => {
                let code = self.task.destroy().await?;
                ensure!(code == 137, "killed, it ended with {code}");
            }
            // The test has deleted it.
            Err(error) if code(&error) == Some(Code::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.container.delete().await?;
        self.containerd.close().await
    }
}
