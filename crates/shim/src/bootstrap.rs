//! What containerd tells `start`, and the answer that its version understands.
//!
//! containerd 2.3 and later send `BootstrapParams`; older ones pass flags, environment and the
//! runtime options. Options parse as `BootstrapParams` too, so these are believed only if they
//! name this very shim.

use std::io::{IsTerminal, Read};

use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult, nearest_log_level};
use containerd_shim::{Flags, StartOpts};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use medley_runtime::options::{self, RuntimeOptions};

/// Most that is read from stdin, in bytes; containerd's own bound.
const MAX_INPUT: u64 = 10 << 20;

/// Version of the task API for a containerd that sent `BootstrapParams`.
const TASK_V3: i32 = 3;

const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";

/// How `start` was called, which decides how it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// With `BootstrapParams`; answered with `BootstrapResult`.
    Bootstrap,
    /// Before 2.3; answered with the bare address, which every version takes for task API 2.
    /// containerd 1.x refuses to hear of version 3.
    Legacy,
}

/// Reads what containerd sent.
pub(crate) fn read(flags: &Flags) -> anyhow::Result<(StartOpts, Protocol)> {
    let ttrpc_address = std::env::var(TTRPC_ADDRESS).unwrap_or_default();
    let (opts, protocol) = parse(&stdin()?, flags, &ttrpc_address);
    anyhow::ensure!(
        !opts.ttrpc_address.is_empty(),
        "containerd's ttrpc address is unknown: {TTRPC_ADDRESS} is not set"
    );
    Ok((opts, protocol))
}

fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_INPUT).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn parse(input: &[u8], flags: &Flags, ttrpc_address: &str) -> (StartOpts, Protocol) {
    let params = BootstrapParams::parse_from_bytes(input)
        .ok()
        .filter(|params| params.instance_id == flags.id && params.namespace == flags.namespace);
    if let Some(params) = params {
        let log_level = nearest_log_level(params.log_level.value());
        let debug = containerd_shim::bootstrap::LogLevel::LOG_LEVEL_DEBUG;
        let opts = StartOpts {
            debug: flags.debug || log_level as i32 <= debug as i32,
            id: params.instance_id,
            publish_binary: params.containerd_binary,
            address: params.containerd_grpc_address,
            ttrpc_address: params.containerd_ttrpc_address,
            namespace: params.namespace,
            log_level,
            containerd_version: params.containerd_version,
            socket_dir: params.socket_dir.filter(|dir| !dir.is_empty()),
            extensions: params
                .extensions
                .into_iter()
                .filter_map(|extension| extension.value.into_option())
                .collect(),
        };
        return (opts, Protocol::Bootstrap);
    }
    let options = Any::parse_from_bytes(input)
        .ok()
        .filter(|any| !any.type_url.is_empty());
    let opts = StartOpts {
        id: flags.id.clone(),
        publish_binary: flags.publish_binary.clone(),
        address: flags.address.clone(),
        ttrpc_address: ttrpc_address.to_owned(),
        namespace: flags.namespace.clone(),
        debug: flags.debug,
        extensions: options.into_iter().collect(),
        ..StartOpts::default()
    };
    (opts, Protocol::Legacy)
}

/// The cgroup that the shim itself is to run in; empty for none. All options are looked at: who
/// asks for what can't be had is told so now.
///
/// # Errors
/// Those of options that make no sense.
pub(crate) fn shim_cgroup(opts: &StartOpts) -> Result<String, options::Error> {
    let mut cgroup = String::new();
    for any in &opts.extensions {
        let options = RuntimeOptions::parse(&any.type_url, &any.value)?;
        if !options.shim_cgroup.is_empty() {
            cgroup = options.shim_cgroup;
        }
    }
    Ok(cgroup)
}

/// The answer of `start`.
pub(crate) fn answer(protocol: Protocol, address: &str) -> anyhow::Result<Vec<u8>> {
    match protocol {
        Protocol::Legacy => Ok(address.as_bytes().to_vec()),
        Protocol::Bootstrap => {
            let result = BootstrapResult {
                version: TASK_V3,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            Ok(result.write_to_bytes()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, answer, parse, shim_cgroup};
    use containerd_shim::Flags;
    use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult};
    use containerd_shim_protos::protobuf::Message;
    use containerd_shim_protos::protobuf::well_known_types::any::Any;
    use containerd_shim_protos::shim::oci::Options as RuncOptions;

    fn flags() -> Flags {
        Flags {
            id: "web".into(),
            namespace: "k8s.io".into(),
            ..Flags::default()
        }
    }

    #[test]
    fn bootstrap_params_that_name_this_shim_are_believed() {
        let params = BootstrapParams {
            instance_id: "web".into(),
            namespace: "k8s.io".into(),
            containerd_ttrpc_address: "/c.ttrpc".into(),
            ..Default::default()
        };
        let (opts, protocol) = parse(&params.write_to_bytes().unwrap(), &flags(), "/env");
        assert_eq!(protocol, Protocol::Bootstrap);
        assert_eq!(opts.ttrpc_address, "/c.ttrpc");
    }

    #[test]
    fn runtime_options_are_not_taken_for_bootstrap_params() {
        let options = RuncOptions {
            shim_cgroup: "/shims".into(),
            ..Default::default()
        };
        let any = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().unwrap(),
            ..Default::default()
        };
        let (opts, protocol) = parse(&any.write_to_bytes().unwrap(), &flags(), "/env");
        assert_eq!(protocol, Protocol::Legacy);
        assert_eq!(opts.ttrpc_address, "/env");
        assert_eq!(shim_cgroup(&opts).unwrap(), "/shims");
    }

    #[test]
    fn options_of_another_type_and_no_options_are_accepted() {
        let any = Any {
            type_url: "runtimeoptions.v1.Options".into(),
            ..Default::default()
        };
        for input in [any.write_to_bytes().unwrap(), Vec::new()] {
            let (opts, protocol) = parse(&input, &flags(), "/env");
            assert_eq!(
                (protocol, shim_cgroup(&opts).unwrap().as_str()),
                (Protocol::Legacy, "")
            );
        }
    }

    #[test]
    fn an_old_containerd_gets_the_address_and_a_new_one_version_3() {
        assert_eq!(answer(Protocol::Legacy, "unix:///s").unwrap(), b"unix:///s");
        let bytes = answer(Protocol::Bootstrap, "unix:///s").unwrap();
        let result = BootstrapResult::parse_from_bytes(&bytes).unwrap();
        assert_eq!((result.version, result.address.as_str()), (3, "unix:///s"));
    }
}
