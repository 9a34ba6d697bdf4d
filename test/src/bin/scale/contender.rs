//! The runtimes that are measured: Medley, runc, and those besides that are found on this machine.

use std::path::PathBuf;

use medley_test::client::process;
use medley_test::{
    Client, Container, Containerd, Context as _, Image, ImageBuilder, Result, Runtime, Task,
    guests, images,
};
use serde_json::Value;

/// Shims of runwasi that are looked for, by their binary, and containerd's names for them.
const RUNWASI: [(&str, &str); 2] = [
    ("containerd-shim-wasmtime-v1", "io.containerd.wasmtime.v1"),
    ("containerd-shim-wasmedge-v1", "io.containerd.wasmedge.v1"),
];

/// A runtime with what it runs.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    client: Client,
    image: Image,
    is_wasm: bool,
}

/// Those that run on this machine.
pub(crate) async fn found(containerd: &Containerd) -> Result<Vec<Contender>> {
    let linux = images::linux()?;
    let wasm = ImageBuilder::scratch("guests")
        .file("/sleep.wasm", guests::module("sleep")?, 0o644)
        .file("/hello.wasm", guests::module("hello")?, 0o644)
        .file("/flood.wasm", guests::module("flood")?, 0o644)
        .entrypoint(["/hello.wasm"])
        .build()?;
    containerd.import(&[&linux, &wasm]).await?;
    let client = containerd.client().await?;
    let contender = |name: &str, client: Client, image: &Image, is_wasm| Contender {
        name: name.to_owned(),
        client,
        image: image.clone(),
        is_wasm,
    };
    let runc = client.clone().with_runtime(Runtime::Runc.name());
    let medley = client.clone().with_runtime(Runtime::Medley.name());
    let mut all = vec![contender("runc", runc.clone(), &linux, false)];
    if let Some(crun) = in_path("crun") {
        let crun = crun.display().to_string();
        let mut options = Vec::new();
        // containerd.runc.v1.Options: `binary_name`.
        prost::encoding::string::encode(6, &crun, &mut options);
        let client = runc.with_options("containerd.runc.v1.Options", options);
        all.push(contender("runc's shim with crun", client, &linux, false));
    }
    all.push(contender("Medley, Linux", medley.clone(), &linux, false));
    all.push(contender("Medley, Wasm", medley, &wasm, true));
    for (binary, runtime) in RUNWASI {
        if in_path(binary).is_some() {
            let client = client.clone().with_runtime(runtime);
            all.push(contender(
                &format!("runwasi, {binary}"),
                client,
                &wasm,
                true,
            ));
        }
    }
    let mut found = Vec::new();
    for contender in all {
        match contender.warm_up().await {
            Ok(()) => found.push(contender),
            Err(error) => eprintln!("scale: without {}: {error:#}", contender.name),
        }
    }
    Ok(found)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// A container that runs.
pub(crate) struct Started {
    pub(crate) container: Container,
    pub(crate) task: Task,
}

impl Started {
    pub(crate) async fn end(self) -> Result<()> {
        self.task.destroy().await?;
        self.container.delete().await
    }
}

impl Contender {
    fn long(&self) -> &'static [&'static str] {
        if self.is_wasm {
            &["/sleep.wasm", "36000"]
        } else {
            &["/bin/sleep", "36000"]
        }
    }

    /// A container whose task is not made yet, which stays until it is ended.
    pub(crate) async fn container(&self, id: &str) -> Result<Container> {
        self.container_of(id, self.long(), false).await
    }

    pub(crate) async fn container_of(
        &self,
        id: &str,
        args: &[&str],
        terminal: bool,
    ) -> Result<Container> {
        let spec = self.client.spec(&self.image, id).args(args.iter().copied());
        let spec = if terminal { spec.terminal() } else { spec };
        self.client.create(id, &self.image, spec).await
    }

    /// Creates and starts the task of a container, with its output nowhere.
    pub(crate) async fn start(container: Container) -> Result<Started> {
        let task = container.task_to("", "", false).await?;
        task.start().await?;
        Ok(Started { container, task })
    }

    /// What an exec runs that ends at once.
    pub(crate) fn short(&self) -> Value {
        process(if self.is_wasm {
            &["/hello.wasm"]
        } else {
            &["/bin/true"]
        })
    }

    /// A container that writes so many bytes and ends.
    pub(crate) async fn flood(&self, id: &str, bytes: usize, terminal: bool) -> Result<Container> {
        let bytes = bytes.to_string();
        if self.is_wasm {
            self.container_of(id, &["/flood.wasm", &bytes], terminal)
                .await
        } else {
            let args = ["/bin/head", "-c", &bytes, "/dev/zero"];
            self.container_of(id, &args, terminal).await
        }
    }

    /// One life, after which all is compiled and read from the disk.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        let container = self.container("warm-up").await?;
        match Self::start(container.clone()).await {
            Ok(started) => started.end().await,
            Err(error) => {
                container.delete().await.context("after a failed start")?;
                Err(error)
            }
        }
    }
}
