//! All features of pods once more, on the containerds of three Debian releases: one containerd
//! for all of them, two at a time where there are two processors.

use crate::node::{Feature, Node};
use crate::{exec, filesystems, kubelet, namespaces, pods, refusals, security, streams};
use futures_util::{StreamExt, stream};
use medley_test::{debian, *};
use std::path::PathBuf;

const AT_A_TIME: usize = 2;

/// An emulated processor alone with two of them has each wait longer than clients are patient.
fn at_a_time() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().min(AT_A_TIME))
}

fn all() -> impl Iterator<Item = &'static Feature> {
    [
        exec::FEATURES,
        filesystems::FEATURES,
        kubelet::FEATURES,
        namespaces::FEATURES,
        pods::FEATURES,
        refusals::FEATURES,
        security::FEATURES,
        streams::FEATURES,
    ]
    .into_iter()
    .flatten()
}

async fn every_feature(runtime: Runtime, binary: PathBuf, version: &str) -> Result<()> {
    let node = Node::start(Options {
        binary,
        ..Options::new(runtime)
    })
    .await?;
    let found = node.containerd().cri().await?.version().await?;
    ensure!(
        found.trim_start_matches('v').starts_with(version),
        "this is containerd {found}, not {version}"
    );
    let features = all().filter(|feature| runtime == Runtime::Medley || !feature.wasm);
    let tried = stream::iter(features)
        .map(|feature| async {
            let tried = feature.try_on(&node).await;
            tried
                .err()
                .map(|error| format!("{}: {error:#}", feature.name))
        })
        .buffer_unordered(at_a_time())
        .collect::<Vec<_>>()
        .await;
    let failed: Vec<_> = tried.into_iter().flatten().collect();
    ensure!(
        failed.is_empty(),
        "with {} on containerd {found}:\n  {}",
        runtime.handler(),
        failed.join("\n  ")
    );
    node.close().await
}

each_runtime! {
    async fn every_feature_on_containerd_1_7_of_debian_13(runtime: Runtime) -> Result<()> {
        every_feature(runtime, debian::containerd("trixie")?, "1.7.").await
    }

    async fn every_feature_on_containerd_2_of_debian_testing(runtime: Runtime) -> Result<()> {
        every_feature(runtime, debian::containerd("testing")?, "2.").await
    }
}
