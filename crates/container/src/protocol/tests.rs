use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use medley_engine::{Entry, Form};
use medley_types::EngineKind;

use super::{
    CacheMiss, Code, Compile, Compiled, Failure, Fingerprint, Guest, IdMappings, MadeProcess,
    MakeReply, MakeSandbox, MakeUserNamespace, Module, Program, ReceiveError, Request,
    UserNamespace, receive_reply, send_reply,
};

fn file(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut File::from(fd), &mut text).unwrap();
    text
}

fn entry() -> Entry {
    Entry {
        path: "/app.wasm".into(),
        export: None,
    }
}

/// Sends a request, and gives what the other end takes for it.
fn over(request: Request<std::os::fd::BorrowedFd<'_>>) -> Request<OwnedFd> {
    let (ours, theirs) = medley_sys::message::pair().unwrap();
    request.send(&ours).unwrap();
    Request::receive(&theirs).unwrap()
}

#[test]
fn each_descriptor_of_a_request_arrives_by_its_name() {
    let (network, lifeline) = (file("network"), file("lifeline"));
    for has_network in [true, false] {
        let sandbox = MakeSandbox {
            network: has_network.then_some(network.as_fd()),
            ipc: true,
            hostname: None,
            holder_lifeline: Some(lifeline.as_fd()),
            sysctls: vec![("net.x".to_owned(), "1".to_owned())],
            debug: false,
        };
        let Request::MakeSandbox(sandbox) = over(sandbox.into()) else {
            panic!("it is another request");
        };
        assert_eq!(sandbox.network.is_some(), has_network);
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let received = sandbox.holder_lifeline.unwrap();
        assert_eq!(inode(&received), inode(&lifeline));
        assert_eq!(sandbox.sysctls, [("net.x".to_owned(), "1".to_owned())]);
    }
}

#[test]
fn a_guests_code_arrives_as_what_it_was_sent() {
    let module = file("module");
    let guest = |code| {
        Program::Wasm(Guest {
            engine: EngineKind::Wasmtime,
            entry: entry(),
            code,
            preopens: Vec::new(),
            argv_start: 1,
            stack: None,
        })
    };
    let received = |code| {
        let [stdin, stdout, stderr, status, init] = [(); 5].map(|()| file(""));
        let exec = super::Exec {
            process: Box::new(super::PreparedProcess {
                init: 1,
                id: "it".to_owned(),
                keyring: false,
                cgroup: medley_cgroup::Cgroup::planned(None, "id", false),
                bundle: "/b".into(),
                process: oci_spec::runtime::Process::default(),
                terminal: None,
                debug: false,
            }),
            program: guest(code),
            fds: super::ExecFds {
                stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
                status: status.as_fd(),
                init: init.as_fd(),
                passed: Vec::new(),
            },
        };
        let request = Request::from(exec);
        assert_eq!(request.engine(), Some(EngineKind::Wasmtime));
        match over(request) {
            Request::Exec(exec) => match exec.program {
                Program::Wasm(guest) => guest.code,
                Program::Linux { .. } => panic!("it is another program"),
            },
            _ => panic!("it is another request"),
        }
    };
    let cached = |module| Code::Cached {
        cache: "/cache".into(),
        form: Form::Module,
        module,
    };
    match received(cached(Module::File(module.as_fd()))) {
        Code::Cached {
            module: Module::File(file),
            ..
        } => assert_eq!(text(file), "module"),
        other => panic!("{other:?}"),
    }
    match received(cached(Module::Digest("00".to_owned()))) {
        Code::Cached {
            module: Module::Digest(digest),
            ..
        } => assert_eq!(digest, "00"),
        other => panic!("{other:?}"),
    }
    let code = file("code");
    match received(Code::Given {
        form: Form::Component,
        code: code.as_fd(),
    }) {
        Code::Given {
            form: Form::Component,
            code,
        } => assert_eq!(text(code), "code"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_whose_descriptors_did_not_come_is_refused() {
    let module = file("");
    let request = Request::from(Compile {
        engine: EngineKind::Wasmtime,
        entry: entry(),
        module: module.as_fd(),
    });
    let mut fds = super::descriptors::OutgoingFds::new();
    let wire = request.try_map(&mut |fd| Ok::<_, std::convert::Infallible>(fds.put(fd)));
    let bytes = serde_json::to_vec(&wire.unwrap()).unwrap();
    let (ours, theirs) = medley_sys::message::pair().unwrap();
    medley_sys::message::send_document(&ours, &bytes, &[]).unwrap();
    let error = Request::receive(&theirs).unwrap_err();
    assert!(matches!(error, ReceiveError::Fds(_)), "{error}");

    // The same number for two descriptors.
    let twice = br#"{"MakeSandbox":{"network":0,"ipc":false,"hostname":null,"holder_lifeline":0,
        "sysctls":[],"debug":false}}"#;
    medley_sys::message::send_document(&ours, twice, &[module.as_fd()]).unwrap();
    let error = Request::receive(&theirs).unwrap_err();
    assert!(matches!(error, ReceiveError::Fds(_)), "{error}");

    medley_sys::message::send_document(&ours, b"{}", &[]).unwrap();
    let error = Request::receive(&theirs).unwrap_err();
    assert!(matches!(error, ReceiveError::Read(_)), "{error}");
}

#[test]
fn requests_without_descriptors_have_none() {
    let mappings = IdMappings {
        uids: "0 1 2\n".to_owned(),
        gids: String::new(),
    };
    let call = MakeUserNamespace {
        mappings: mappings.clone(),
    };
    match over(call.into()) {
        Request::MakeUserNamespace(call) => assert_eq!(call.mappings, mappings),
        other => panic!("{other:?}"),
    }
    let engine = EngineKind::Wasmedge;
    match over(Fingerprint { engine }.into()) {
        Request::Fingerprint(call) => assert_eq!(call.engine, engine),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_is_the_one_of_its_call() {
    let (ours, theirs) = medley_sys::message::pair().unwrap();
    let made = MakeReply::Made(MadeProcess {
        pid: 7,
        terminal: Some(file("terminal")),
    });
    send_reply(&ours, Ok(made)).unwrap();
    match receive_reply::<MakeReply<OwnedFd>>(&theirs)
        .unwrap()
        .unwrap()
    {
        MakeReply::Made(made) => {
            assert_eq!(made.pid, 7);
            assert_eq!(text(made.terminal.unwrap()), "terminal");
        }
        MakeReply::CacheMiss(miss) => panic!("{miss:?}"),
    }

    let miss = CacheMiss::NotCached {
        fingerprint: "f".to_owned(),
        damage: None,
    };
    send_reply(&ours, Ok(MakeReply::<OwnedFd>::CacheMiss(miss.clone()))).unwrap();
    let reply = receive_reply::<MakeReply<OwnedFd>>(&theirs).unwrap();
    assert!(matches!(reply, Ok(MakeReply::CacheMiss(found)) if found == miss));

    let failure = Failure::UnfitModule {
        reason: "it is text".to_owned(),
    };
    send_reply::<Compiled<OwnedFd>>(&ours, Err(failure.clone())).unwrap();
    let reply = receive_reply::<Compiled<OwnedFd>>(&theirs).unwrap();
    assert_eq!(reply.unwrap_err(), failure);
}

#[test]
fn a_reply_of_another_call_or_without_its_descriptor_is_refused() {
    let (ours, theirs) = medley_sys::message::pair().unwrap();
    send_reply(&ours, Ok("fingerprint".to_owned())).unwrap();
    receive_reply::<UserNamespace<OwnedFd>>(&theirs).unwrap_err();
    medley_sys::message::send_document(&ours, br#"{"Ok":{"fd":0}}"#, &[]).unwrap();
    let error = receive_reply::<UserNamespace<OwnedFd>>(&theirs).unwrap_err();
    assert!(error.to_string().contains("descriptor 0"), "{error}");
}
