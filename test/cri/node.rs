//! A node: one containerd, and the images that the features of pods are tried with.

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use medley_test::*;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

/// The guests that the images hold, each as `/<name>.wasm`.
const GUESTS: [&str; 11] = [
    "cat",
    "env",
    "exit-with-code",
    "exports",
    "files",
    "hello",
    "sleep",
    "spin",
    "tick",
    "unknown-import",
    "volume",
];

/// A node on which a feature is tried.
pub(crate) struct Node {
    containerd: Containerd,
    cri: Cri,
    linux: Image,
    wasm: Image,
    version: String,
}

/// Something that pods can do, in a sentence, and the check of it.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// Whether it is one of Wasm containers, which runc does not have.
    pub(crate) wasm: bool,
    check: Check,
}

type Check = fn(&Node) -> LocalBoxFuture<'_, Result<()>>;

impl Feature {
    pub(crate) const fn new(name: &'static str, wasm: bool, check: Check) -> Self {
        Self { name, wasm, check }
    }

    /// Tries it; a failed assertion is an error like any other.
    pub(crate) async fn try_on(&self, node: &Node) -> Result<()> {
        let tried = AssertUnwindSafe((self.check)(node)).catch_unwind().await;
        tried.unwrap_or_else(|_| bail!("its assertion failed, see above"))
    }
}

impl Node {
    pub(crate) async fn start(options: Options) -> Result<Self> {
        let with_wasm = options.runtime == Runtime::Medley;
        let containerd = Containerd::start_with(options).await?;
        let mut linux = images::linux_builder("linux")?.file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/data:/bin/sh\n",
            0o644,
        );
        let mut wasm = ImageBuilder::scratch("wasm");
        // Where runc tests the tests no guest is called for.
        for name in GUESTS.iter().filter(|_| with_wasm) {
            let (path, module) = (format!("/{name}.wasm"), guests::module(name)?);
            linux = linux.file(&path, &module, 0o644);
            wasm = wasm.file(&path, &module, 0o644);
        }
        if with_wasm {
            wasm = wasm.file("/component.wasm", guests::component("sleep")?, 0o644);
        }
        let linux = linux.entrypoint(["/bin/sh"]).build()?;
        let wasm = wasm.entrypoint(["/hello.wasm"]).build()?;
        if with_wasm {
            containerd.import_cri(&[&linux, &wasm]).await?;
        } else {
            containerd.import_cri(&[&linux]).await?;
        }
        let cri = containerd.cri().await?;
        let version = cri.version().await?;
        Ok(Self {
            containerd,
            cri,
            linux,
            wasm,
            version,
        })
    }

    /// Runs one check on a node of its own, with the installed containerd.
    pub(crate) async fn tries(runtime: Runtime, feature: &Feature) -> Result<()> {
        let node = Self::start(Options::new(runtime)).await?;
        (feature.check)(&node).await?;
        node.close().await
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.containerd.close().await
    }

    pub(crate) fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    pub(crate) fn runtime(&self) -> Runtime {
        self.containerd.runtime()
    }

    /// Whether containerd is of version `major.minor` or later.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let version = self.version.trim_start_matches('v');
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(major), Some(minor))
    }

    /// Says that `feature` can't be tried here, past the harness, which shows nothing of a test
    /// that passes.
    pub(crate) fn cannot_try(&self, feature: &str, why: &str) -> Result<()> {
        let line = format!(
            "\ntest: not tried with {} on containerd {}: {feature}: {why}\n",
            self.runtime().handler(),
            self.version
        );
        Ok(std::io::stderr().write_all(line.as_bytes())?)
    }

    /// A pod as a kubelet makes it.
    pub(crate) async fn pod(&self, name: &str) -> Result<Pod> {
        self.pod_with(name, PodOptions::default()).await
    }

    pub(crate) async fn pod_with(&self, name: &str, options: PodOptions) -> Result<Pod> {
        self.cri.run_pod(name, options).await
    }

    /// A dir that nothing else uses, for a volume.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        let dir = self.containerd.dir().join(leftovers::unique());
        std::fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// A Linux container that runs `script`.
    pub(crate) fn shell(&self, name: &str, script: &str) -> PodContainer {
        PodContainer::new(name, &self.linux).command(["/bin/sh", "-c", script])
    }

    /// A Linux container that is there to be looked at.
    pub(crate) fn sleeper(&self, name: &str) -> PodContainer {
        PodContainer::new(name, &self.linux).command(["/bin/sleep", "3600"])
    }

    /// A Wasm container of an image that holds nothing but guests.
    pub(crate) fn guest(&self, name: &str, command: &[&str]) -> PodContainer {
        PodContainer::new(name, &self.wasm).command(command.iter().copied())
    }

    /// A Wasm container of an image that holds Linux programs too.
    pub(crate) fn guest_beside_programs(&self, name: &str, command: &[&str]) -> PodContainer {
        PodContainer::new(name, &self.linux).command(command.iter().copied())
    }
}

/// What a shell script says in a container; its errors too, and its exit status if it is not 0.
pub(crate) async fn asked(container: &CriContainer, script: &str) -> Result<String> {
    let ran = container
        .exec_sync(&["/bin/sh", "-c", &format!("{{ {script}\n}} 2>&1")], 0)
        .await?;
    let said = ran.stdout.trim_end().to_owned();
    Ok(match ran.code {
        0 => said,
        code => format!("{said} ({code})"),
    })
}

/// Makes tests of checks, `async fn name(node: &Node) -> Result<()>`: those of Linux containers
/// with Medley and with runc, those of Wasm containers with Medley. All are in `FEATURES`, which
/// is what the stories of other versions run through.
macro_rules! features {
    (linux: $($linux:ident),* $(,)?; wasm: $($wasm:ident),* $(,)?) => {
        pub(crate) const FEATURES: &[crate::node::Feature] = &[
            $($linux::FEATURE,)*
            $($wasm::FEATURE,)*
        ];
        $(mod $linux {
            use crate::node::{Feature, Node};
            pub(super) const FEATURE: Feature = Feature::new(
                stringify!($linux),
                false,
                |node| Box::pin(super::$linux(node)),
            );
            #[tokio::test]
            async fn medley() -> medley_test::Result<()> {
                Node::tries(medley_test::Runtime::Medley, &FEATURE).await
            }
            #[tokio::test]
            async fn runc() -> medley_test::Result<()> {
                Node::tries(medley_test::Runtime::Runc, &FEATURE).await
            }
        })*
        $(mod $wasm {
            use crate::node::{Feature, Node};
            pub(super) const FEATURE: Feature = Feature::new(
                stringify!($wasm),
                true,
                |node| Box::pin(super::$wasm(node)),
            );
            #[tokio::test]
            async fn medley() -> medley_test::Result<()> {
                Node::tries(medley_test::Runtime::Medley, &FEATURE).await
            }
        })*
    };
}
pub(crate) use features;
