//! The wire edge of the Sandbox API.

use std::collections::HashMap;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::{self, CodedInputStream, MessageField};
use containerd_shim_protos::sandbox_api as api;
use containerd_shim_protos::sandbox_async::Sandbox;
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::r#async::TtrpcContext;
use containerd_shim_protos::types::platform::Platform;

use super::parts::timestamp;
use super::{Edge, metrics};
use crate::error::{Cause, Error};
use crate::name::Name;
use medley_types::sandbox::{Dns, SandboxRequest, Scope};

/// The CRI's message for a pod; a package's name may stand before it.
const POD_CONFIG: &str = "PodSandboxConfig";

/// As the CRI names the states of a pod.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

#[async_trait]
impl Sandbox for Edge {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::CreateSandboxRequest,
    ) -> ttrpc::Result<api::CreateSandboxResponse> {
        self.service
            .create_sandbox(sandbox_request(request)?)
            .await?;
        Ok(api::CreateSandboxResponse::new())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StartSandboxRequest,
    ) -> ttrpc::Result<api::StartSandboxResponse> {
        let sandbox = self.service.start_sandbox(&request.sandbox_id)?;
        Ok(api::StartSandboxResponse {
            pid: sandbox.pid,
            created_at: MessageField::some(timestamp(sandbox.created_at)),
            ..Default::default()
        })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        _: api::PlatformRequest,
    ) -> ttrpc::Result<api::PlatformResponse> {
        // Wasm too comes in images for the node's platform: the rootfs is a Linux one.
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: architecture().to_owned(),
            ..Default::default()
        };
        Ok(api::PlatformResponse {
            platform: MessageField::some(platform),
            ..Default::default()
        })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StopSandboxRequest,
    ) -> ttrpc::Result<api::StopSandboxResponse> {
        self.service.stop_sandbox(&request.sandbox_id).await?;
        Ok(api::StopSandboxResponse::new())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::WaitSandboxRequest,
    ) -> ttrpc::Result<api::WaitSandboxResponse> {
        let exit = self.service.wait_sandbox(&request.sandbox_id).await?;
        Ok(api::WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: api::SandboxStatusRequest,
    ) -> ttrpc::Result<api::SandboxStatusResponse> {
        let sandbox = self.service.sandbox_status(&request.sandbox_id)?;
        Ok(api::SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: sandbox.pid,
            state: if sandbox.ready { READY } else { NOT_READY }.to_owned(),
            info: HashMap::new(),
            created_at: MessageField::some(timestamp(sandbox.created_at)),
            exited_at: sandbox.exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::PingRequest,
    ) -> ttrpc::Result<api::PingResponse> {
        self.service.sandbox_status(&request.sandbox_id)?;
        Ok(api::PingResponse::new())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::ShutdownSandboxRequest,
    ) -> ttrpc::Result<api::ShutdownSandboxResponse> {
        self.service.shutdown_sandbox(&request.sandbox_id).await?;
        Ok(api::ShutdownSandboxResponse::new())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: api::SandboxMetricsRequest,
    ) -> ttrpc::Result<api::SandboxMetricsResponse> {
        let used = self.service.sandbox_metrics(&request.sandbox_id).await?;
        let data = metrics::any(&used).map_err(|error| Error::Runtime {
            name: Name::sandbox(&request.sandbox_id),
            verb: "encode the metrics of",
            source: error.into(),
        })?;
        let mut response = api::SandboxMetricsResponse::new();
        let metric = response.metrics.mut_or_insert_default();
        metric.timestamp = MessageField::some(timestamp(std::time::SystemTime::now()));
        metric.id = request.sandbox_id;
        metric.data = MessageField::some(data);
        Ok(response)
    }
}

/// As Go and images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What is wrong with a request before anything was tried.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("the request names no sandbox id")]
    NoId,
    #[error("the bundle of sandbox {id:?} is {bundle:?}, which is not an absolute path")]
    Bundle { id: String, bundle: String },
    #[error("the options of sandbox {id:?} are not a valid {POD_CONFIG} message")]
    Config { id: String, source: protobuf::Error },
}

pub(super) fn sandbox_request(request: api::CreateSandboxRequest) -> Result<SandboxRequest, Error> {
    let invalid = |reason: Malformed| Error::Invalid(Cause::from(reason));
    let id = request.sandbox_id;
    if id.is_empty() {
        return Err(invalid(Malformed::NoId));
    }
    if !request.bundle_path.starts_with('/') {
        return Err(invalid(Malformed::Bundle {
            id,
            bundle: request.bundle_path,
        }));
    }
    let mut pod = SandboxRequest {
        id,
        bundle: request.bundle_path.into(),
        netns: Some(request.netns_path)
            .filter(|path| !path.is_empty())
            .map(Into::into),
        // Another client may describe no pod: its containers say what they share.
        pid: Scope::Container,
        ..SandboxRequest::default()
    };
    let config = request.options.into_option();
    if let Some(config) = config.filter(|config| config.type_url.ends_with(POD_CONFIG)) {
        pod.pid = Scope::default();
        sandbox_config(&config.value, &mut pod).map_err(|source| {
            invalid(Malformed::Config {
                id: pod.id.clone(),
                source,
            })
        })?;
        pod.sysctls.sort();
    }
    Ok(pod)
}

/// One field of a message.
enum Field<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// Calls `each` for every field of a message with its number. The CRI's messages are many and
/// large, and of them a shim needs some ten fields.
fn fields(
    bytes: &[u8],
    mut each: impl FnMut(u32, Field<'_>) -> Result<(), protobuf::Error>,
) -> Result<(), protobuf::Error> {
    /// Wire types, the three lowest bits of a tag.
    const VARINT: u32 = 0;
    const LENGTH_DELIMITED: u32 = 2;
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag & 7 {
            VARINT => each(tag >> 3, Field::Number(input.read_uint64()?))?,
            LENGTH_DELIMITED => each(tag >> 3, Field::Bytes(&input.read_bytes()?))?,
            _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `PodSandboxConfig` of the CRI, version 1.
fn sandbox_config(bytes: &[u8], pod: &mut SandboxRequest) -> Result<(), protobuf::Error> {
    fields(bytes, |number, field| match (number, field) {
        (2, Field::Bytes(hostname)) => {
            pod.hostname = text(hostname);
            Ok(())
        }
        (4, Field::Bytes(dns)) => dns_config(dns, &mut pod.dns),
        (8, Field::Bytes(linux)) => linux_config(linux, pod),
        _ => Ok(()),
    })
}

/// `DNSConfig`.
fn dns_config(bytes: &[u8], dns: &mut Dns) -> Result<(), protobuf::Error> {
    fields(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(server)) => dns.servers.push(text(server)),
            (2, Field::Bytes(search)) => dns.searches.push(text(search)),
            (3, Field::Bytes(option)) => dns.options.push(text(option)),
            _ => {}
        }
        Ok(())
    })
}

/// `LinuxPodSandboxConfig`.
fn linux_config(bytes: &[u8], pod: &mut SandboxRequest) -> Result<(), protobuf::Error> {
    fields(bytes, |number, field| match (number, field) {
        (1, Field::Bytes(parent)) => {
            pod.cgroup_parent = text(parent);
            Ok(())
        }
        // `LinuxSandboxSecurityContext`, of which the namespace options count.
        (2, Field::Bytes(security)) => fields(security, |number, field| match (number, field) {
            (1, Field::Bytes(options)) => namespace_options(options, pod),
            _ => Ok(()),
        }),
        (3, Field::Bytes(entry)) => {
            let (mut name, mut value) = (String::new(), String::new());
            fields(entry, |number, field| {
                match (number, field) {
                    (1, Field::Bytes(bytes)) => name = text(bytes),
                    (2, Field::Bytes(bytes)) => value = text(bytes),
                    _ => {}
                }
                Ok(())
            })?;
            pod.sysctls.push((name, value));
            Ok(())
        }
        _ => Ok(()),
    })
}

/// `NamespaceOption`. A field that is not there is a zero, which is the pod. Whether the network is
/// the node's is told by its path.
fn namespace_options(bytes: &[u8], pod: &mut SandboxRequest) -> Result<(), protobuf::Error> {
    fields(bytes, |number, field| {
        match (number, field) {
            (2, Field::Number(mode)) => pod.pid = scope(mode),
            (3, Field::Number(mode)) => pod.ipc = scope(mode),
            _ => {}
        }
        Ok(())
    })
}

/// `NamespaceMode`.
fn scope(mode: u64) -> Scope {
    match mode {
        0 => Scope::Pod,
        2 => Scope::Node,
        // Its own, or that of another container, which its own spec names.
        _ => Scope::Container,
    }
}

#[cfg(test)]
mod tests {
    use super::{Scope, sandbox_request};
    use containerd_shim_protos::protobuf::MessageField;
    use containerd_shim_protos::protobuf::well_known_types::any::Any;
    use containerd_shim_protos::sandbox_api::CreateSandboxRequest;
    use medley_types::sandbox::Dns;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
        bytes.extend(value);
        bytes
    }

    fn request(kind: &str, value: Vec<u8>) -> CreateSandboxRequest {
        CreateSandboxRequest {
            sandbox_id: "pod".into(),
            bundle_path: "/bundle".into(),
            netns_path: "/run/netns/a".into(),
            options: MessageField::some(Any {
                type_url: kind.into(),
                value,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_pod_is_read_from_the_cris_message() {
        let dns = [
            field(1, b"10.0.0.1"),
            field(2, b"a.b"),
            field(3, b"ndots:5"),
        ]
        .concat();
        let sysctl = [field(1, b"net.core.somaxconn"), field(2, b"7")].concat();
        let namespaces = field(1, &[2 << 3, 1, 3 << 3, 2]);
        let linux = [
            field(1, b"/kubepods/pod1"),
            field(2, &namespaces),
            field(3, &sysctl),
        ]
        .concat();
        let config = [field(2, b"web-0"), field(4, &dns), field(8, &linux)].concat();
        let pod = sandbox_request(request("runtime.v1.PodSandboxConfig", config)).unwrap();
        assert_eq!(pod.hostname, "web-0");
        assert_eq!(pod.netns.as_deref(), Some("/run/netns/a".as_ref()));
        assert_eq!(pod.cgroup_parent, "/kubepods/pod1");
        assert_eq!(pod.sysctls, [("net.core.somaxconn".into(), "7".into())]);
        assert_eq!((pod.pid, pod.ipc), (Scope::Container, Scope::Node));
        let dns = Dns {
            servers: vec!["10.0.0.1".into()],
            searches: vec!["a.b".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(pod.dns, dns);
    }

    #[test]
    fn what_the_cri_leaves_out_is_shared_in_the_pod() {
        let pod = sandbox_request(request("runtime.v1.PodSandboxConfig", Vec::new())).unwrap();
        assert_eq!((pod.pid, pod.ipc), (Scope::Pod, Scope::Pod));
        let other = sandbox_request(request("example.Options", vec![0xff])).unwrap();
        assert_eq!(other.pid, Scope::Container);
    }

    #[test]
    fn a_pod_without_id_or_bundle_or_of_nonsense_is_refused() {
        let good = request("runtime.v1.PodSandboxConfig", Vec::new());
        let mut nameless = good.clone();
        nameless.sandbox_id.clear();
        let mut relative = good.clone();
        relative.bundle_path = "bundle".into();
        let nonsense = request("runtime.v1.PodSandboxConfig", vec![0xff]);
        for (request, word) in [
            (nameless, "no sandbox id"),
            (relative, "absolute"),
            (nonsense, "PodSandboxConfig"),
        ] {
            let text = sandbox_request(request).unwrap_err().sentence();
            assert!(text.contains(word), "{text}");
        }
    }
}
