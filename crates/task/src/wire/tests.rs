use super::{Malformed, code, create_request, services, status};
use crate::error::Error;
use crate::events::{Event, Events};
use crate::runtime::Exit;
use crate::state::Status;
use containerd_shim_protos::api;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use std::time::SystemTime;

const EXIT: Exit = Exit {
    status: 3,
    at: SystemTime::UNIX_EPOCH,
};

#[test]
fn every_error_has_its_code() {
    let id = || "x".to_owned();
    let cases = [
        (Error::NoSuchTask { id: id() }, Code::NOT_FOUND),
        (
            Error::NoSuchExec {
                id: id(),
                exec_id: id(),
            },
            Code::NOT_FOUND,
        ),
        (Error::Finished { id: id() }, Code::NOT_FOUND),
        (Error::Exists { id: id() }, Code::ALREADY_EXISTS),
        (
            Error::IllegalState {
                id: id(),
                verb: "delete",
                status: Status::Running,
            },
            Code::FAILED_PRECONDITION,
        ),
        (
            Error::Invalid(Malformed::NoId.into()),
            Code::INVALID_ARGUMENT,
        ),
        (Error::Unimplemented { call: "Pause" }, Code::UNIMPLEMENTED),
        (
            Error::Runtime {
                id: id(),
                verb: "create",
                source: "no rootfs".into(),
            },
            Code::UNKNOWN,
        ),
        (Error::Internal { id: id() }, Code::INTERNAL),
        (Error::Ending { id: id() }, Code::UNAVAILABLE),
    ];
    for (error, expected) in cases {
        assert_eq!(code(&error), expected, "{error}");
    }
}

#[test]
fn a_runtime_error_carries_its_cause_in_one_sentence() {
    let error = Error::Runtime {
        id: "web".into(),
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
fn both_names_of_the_task_service_are_served() {
    struct Nothing;
    #[async_trait::async_trait]
    impl crate::Runtime for Nothing {
        async fn create(
            &self,
            _: crate::CreateRequest,
        ) -> Result<std::sync::Arc<dyn crate::Container>, crate::error::Cause> {
            Err("none".into())
        }
    }
    let (events, _receiver) = Events::channel();
    let service = crate::Service::new(std::sync::Arc::new(Nothing), events);
    let mut names: Vec<_> = services(&service).into_keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["containerd.task.v2.Task", "containerd.task.v3.Task"]
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
        id: "web".into(),
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
