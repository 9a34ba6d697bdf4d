use super::request::{Malformed, create_request, exec_request, size, update_request};
use super::{code, services, status};
use crate::error::Error;
use crate::events::{Event, Events};
use crate::exit::Exit;
use crate::name::Name;
use crate::status::Status;
use containerd_shim_protos::api;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::Code;
use std::time::SystemTime;

const EXIT: Exit = Exit {
    status: 3,
    at: SystemTime::UNIX_EPOCH,
};

#[test]
fn every_error_has_its_code() {
    let name = || Name::task("x");
    let cases = [
        (Error::NotFound { name: name() }, Code::NOT_FOUND),
        (Error::Finished { name: name() }, Code::NOT_FOUND),
        (Error::Exists { name: name() }, Code::ALREADY_EXISTS),
        (
            Error::Precondition {
                name: name(),
                verb: "resize the terminal of",
                source: "it has no terminal".into(),
            },
            Code::FAILED_PRECONDITION,
        ),
        (
            Error::IllegalState {
                name: name(),
                verb: "delete",
                status: Status::Running,
            },
            Code::FAILED_PRECONDITION,
        ),
        (
            Error::Invalid(Malformed::NoId.into()),
            Code::INVALID_ARGUMENT,
        ),
        (
            Error::Unimplemented { call: "Checkpoint" },
            Code::UNIMPLEMENTED,
        ),
        (
            Error::Runtime {
                name: name(),
                verb: "create",
                source: "no rootfs".into(),
            },
            Code::UNKNOWN,
        ),
        (Error::Internal { name: name() }, Code::INTERNAL),
        (Error::Ending { name: name() }, Code::UNAVAILABLE),
    ];
    for (error, expected) in cases {
        assert_eq!(code(&error), expected, "{error}");
    }
}

#[test]
fn a_runtime_error_carries_its_cause_in_one_sentence() {
    let error = Error::Runtime {
        name: Name::task("web"),
        verb: "create",
        source: "rootfs is missing".into(),
    };
    assert_eq!(
        error.sentence(),
        "cannot create task \"web\": rootfs is missing"
    );
}

#[test]
fn a_request_without_an_id_or_with_a_relative_bundle_is_invalid() {
    let request = api::CreateTaskRequest {
        bundle: "/b".into(),
        ..Default::default()
    };
    assert!(matches!(create_request(request), Err(Error::Invalid(_))));
    let request = api::CreateTaskRequest {
        id: "x".into(),
        bundle: "b".into(),
        ..Default::default()
    };
    assert!(matches!(create_request(request), Err(Error::Invalid(_))));
}

#[test]
fn the_task_services_two_names_and_the_sandbox_are_served() {
    struct Nothing;
    #[async_trait::async_trait]
    impl crate::Runtime for Nothing {
        async fn create(
            &self,
            _: crate::CreateRequest,
        ) -> Result<std::sync::Arc<dyn crate::Container>, crate::error::Cause> {
            Err("none".into())
        }

        async fn create_sandbox(
            &self,
            _: medley_types::sandbox::SandboxRequest,
        ) -> Result<std::sync::Arc<dyn crate::sandbox::Sandbox>, crate::error::Cause> {
            Err("none".into())
        }
    }
    let (events, _receiver) = Events::channel();
    let service = crate::Service::new(std::sync::Arc::new(Nothing), events);
    let mut names: Vec<_> = services(&service).into_keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "containerd.runtime.sandbox.v1.Sandbox",
            "containerd.task.v2.Task",
            "containerd.task.v3.Task"
        ]
    );
}

#[test]
fn a_task_that_is_starting_counts_as_created() {
    assert_eq!(status(Status::Starting), api::Status::CREATED);
    assert_eq!(status(Status::Stopped(EXIT)), api::Status::STOPPED);
}

#[test]
fn an_exit_event_names_its_process_by_id() {
    let event = Event::Exit {
        name: Name::task("web"),
        pid: 7,
        exit: EXIT,
    };
    let envelope = super::envelope("k8s.io", &event).unwrap();
    assert_eq!(envelope.topic, "/tasks/exit");
    assert_eq!(envelope.event.type_url, "containerd.events.TaskExit");
    let exit = TaskExit::parse_from_bytes(&envelope.event.value).unwrap();
    assert_eq!(
        (exit.container_id.as_str(), exit.id.as_str()),
        ("web", "web")
    );
    assert_eq!(exit.exit_status, 3);
}

#[test]
fn an_execs_exit_event_names_its_task_and_itself() {
    let event = Event::Exit {
        name: Name::new("web", "probe"),
        pid: 8,
        exit: EXIT,
    };
    let envelope = super::envelope("k8s.io", &event).unwrap();
    let exit = TaskExit::parse_from_bytes(&envelope.event.value).unwrap();
    assert_eq!(
        (exit.container_id.as_str(), exit.id.as_str()),
        ("web", "probe")
    );
}

#[test]
fn an_exec_needs_ids_and_a_process() {
    let request = |id: &str, exec_id: &str| api::ExecProcessRequest {
        id: id.into(),
        exec_id: exec_id.into(),
        ..Default::default()
    };
    for request in [request("", "e"), request("x", ""), request("x", "e")] {
        assert!(matches!(exec_request(request), Err(Error::Invalid(_))));
    }
}

#[test]
fn an_update_needs_the_oci_specs_resources() {
    let update = |type_url: &str| {
        let resources = Any {
            type_url: type_url.into(),
            value: b"{}".to_vec(),
            ..Default::default()
        };
        update_request(api::UpdateTaskRequest {
            id: "x".into(),
            resources: Some(resources).into(),
            ..Default::default()
        })
    };
    let linux = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    assert_eq!(update(linux).unwrap(), ("x".to_owned(), b"{}".to_vec()));
    let error = update("types.example/WindowsResources").unwrap_err();
    assert!(error.sentence().contains("WindowsResources"), "{error}");
    assert!(update_request(api::UpdateTaskRequest::new()).is_err());
}

#[test]
fn a_terminal_that_the_kernel_cannot_count_is_refused() {
    let request = |width| api::ResizePtyRequest {
        width,
        height: 24,
        ..Default::default()
    };
    assert_eq!(size(&request(80)).unwrap().columns, 80);
    assert!(matches!(size(&request(70_000)), Err(Error::Invalid(_))));
}
