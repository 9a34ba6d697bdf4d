//! What components of Spin applications ask of their host: variables, stores, databases, connections.

use crate::http::on_host_network;
use medley_test::http::{Answer, free_port, get, post};
use medley_test::redis::Redis;
use medley_test::stdio::Stdin;
use medley_test::*;
use std::net::SocketAddr;
use std::path::PathBuf;

const MANIFEST: &str = r#"
spin_manifest_version = 2

[application]
name = "state"

[variables]
greeting = { default = "good day" }
redis = { default = "redis://127.0.0.1:1" }

[[trigger.http]]
route = "/..."
component = "state"

[[trigger.http]]
route = "/old/..."
component = "old"

[component.state]
source = "state.wasm"
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["{{ redis }}"]
[component.state.variables]
greeting = "{{ greeting }}"

[component.old]
source = "old.wasm"
"#;

/// The application in an image, and a containerd to run it.
struct Application {
    containerd: Containerd,
    client: Client,
    image: Image,
    /// The volume of its files.
    state: PathBuf,
}

/// It, in a container.
struct Server {
    container: Container,
    task: Task,
    address: SocketAddr,
}

impl Application {
    /// With this file as its runtime config.
    async fn new(runtime_config: &str) -> Result<Self> {
        let image = ImageBuilder::scratch("spin-state")
            .file("/spin.toml", MANIFEST, 0o644)
            .file("/runtime-config.toml", runtime_config, 0o644)
            .file(
                "/state.wasm",
                guests::of_world("spin-state", "spin")?,
                0o644,
            )
            .file(
                "/old.wasm",
                guests::of_world("spin-inbound", "spin-1")?,
                0o644,
            )
            .entrypoint(["/"])
            .build()?;
        let containerd = Containerd::start(Runtime::Medley).await?;
        containerd.import(&[&image]).await?;
        let state = containerd.dir().join("volume");
        std::fs::create_dir(&state)?;
        Ok(Self {
            client: containerd.client().await?,
            containerd,
            image,
            state,
        })
    }

    async fn start(&self, env: &[&str]) -> Result<Server> {
        let port = free_port()?;
        let mut spec = on_host_network(self.client.spec(&self.image, "it"))
            .env(&format!("PORT={port}"))
            .bind(&self.state, "/state", false);
        for variable in env {
            spec = spec.env(variable);
        }
        let container = self.client.create("it", &self.image, spec).await?;
        let task = container.start(Stdin::None).await?;
        Ok(Server {
            container,
            task,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        })
    }
}

impl Server {
    /// The answer's status and text.
    async fn ask(&self, path: &str) -> Result<(u16, String)> {
        let Answer { status, body, .. } = get(self.address, path).await?;
        Ok((status, body))
    }

    /// Ends it, and gives what it wrote to stderr.
    async fn stop(mut self) -> Result<String> {
        self.task.kill(15, false).await?;
        let ended = self.task.wait().await?;
        let (_, stderr) = self.task.output().await?;
        assert_eq!(ended, 143, "{stderr}");
        self.task.delete().await?;
        self.container.delete().await?;
        Ok(stderr)
    }
}

fn said(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[tokio::test]
async fn a_component_asks_for_its_variables() -> Result<()> {
    let application = Application::new("").await?;
    let env = ["SPIN_VARIABLE_GREETING=good night"];
    let server = application.start(&env).await?;
    let greeting = server.ask("/variable?greeting").await?;
    assert_eq!(greeting, said(200, "good night\n"));
    let undefined = "1\ncomponent \"state\" has no variable \"other\"\n";
    assert_eq!(server.ask("/variable?other").await?, said(500, undefined));
    let invalid = "0\n\"No-name\" is no name of a variable\n";
    assert_eq!(server.ask("/variable?No-name").await?, said(500, invalid));
    server.stop().await?;
    application.containerd.close().await
}

/// In a file where the environment says, which outlives the container, as the database does.
#[tokio::test]
async fn stores_and_databases_stay_in_a_volume() -> Result<()> {
    let application = Application::new("").await?;
    let env = ["SPIN_STATE_DIR=/state"];
    let server = application.start(&env).await?;
    assert_eq!(server.ask("/count?default").await?, said(200, "1\ncount\n"));
    assert_eq!(server.ask("/increment?40").await?, said(200, "41\n"));
    let create = server.ask("/execute?CREATE+TABLE+note+(text)").await?;
    assert_eq!(create, said(200, ""));
    let insert = "/execute?INSERT+INTO+note+VALUES+(?)";
    assert_eq!(server.ask(insert).await?, said(200, ""));
    assert_eq!(server.stop().await?, "");

    let server = application.start(&env).await?;
    assert_eq!(
        server.ask("/count?default").await?,
        said(200, "42\ncount\n")
    );
    let select = server.ask("/execute?SELECT+text+FROM+note").await?;
    assert_eq!(select, said(200, "it's\n"));
    server.stop().await?;
    assert!(application.state.join("sqlite_key_value.db").is_file());
    assert!(application.state.join("sqlite_db.db").is_file());
    application.containerd.close().await
}

#[tokio::test]
async fn a_statement_comes_to_no_other_file() -> Result<()> {
    let application = Application::new("").await?;
    std::fs::write(application.state.join("other.db"), "")?;
    let server = application.start(&[]).await?;
    for statement in [
        "ATTACH+'/state/other.db'+AS+o",
        "VACUUM+INTO+'/state/new.db'",
    ] {
        let (status, text) = server.ask(&format!("/execute?{statement}")).await?;
        assert_eq!(status, 500, "{text}");
        assert!(text.contains("authoriz"), "{text}");
    }
    server.stop().await?;
    assert!(!application.state.join("new.db").exists());
    application.containerd.close().await
}

/// Of a store, a server and a model: the guest gets its interface's error, the log the reason.
#[tokio::test]
async fn what_is_not_allowed_is_an_error_and_in_the_log() -> Result<()> {
    let application = Application::new("").await?;
    let server = application.start(&[]).await?;
    assert_eq!(server.ask("/count?other").await?, said(500, "2\n"));
    let redis = server.ask("/redis?redis://127.0.0.1:2").await?;
    assert_eq!(redis, said(500, "0\n"));
    let socket = server.ask("/redis?redis+unix:///run/redis.sock").await?;
    assert_eq!(socket, said(500, "0\n"));
    assert_eq!(server.ask("/infer?llama2-chat").await?, said(500, "0\n"));
    let stderr = server.stop().await?;
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "component \"state\" may not open the key-value store \"other\": add \"other\" to its \
             key_value_stores",
            "component \"state\" may not connect to redis://127.0.0.1:2: add \"redis://127.0.0.1:2\" to \
             its allowed_outbound_hosts",
            "component \"state\" can't connect to Redis: the address is of TLS or of a socket in the file \
             system, use redis://",
            "component \"state\" asked for the AI model \"llama2-chat\", and Medley has none",
        ]
    );
    application.containerd.close().await
}

/// And a key-value store that is kept there.
#[tokio::test]
async fn a_component_connects_to_redis() -> Result<()> {
    let redis = Redis::start()?;
    let url = redis.url();
    let config = format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{url}\"\n");
    let application = Application::new(&config).await?;
    let variable = format!("SPIN_VARIABLE_REDIS={url}");
    let server = application.start(&[&variable]).await?;
    assert_eq!(
        server.ask(&format!("/redis?{url}")).await?,
        said(200, "1\n")
    );
    assert_eq!(server.ask("/count?default").await?, said(200, "2\ncount\n"));
    assert_eq!(server.ask("/increment?-3").await?, said(200, "-1\n"));
    assert_eq!(
        server.ask(&format!("/redis?{url}")).await?,
        said(200, "0\n")
    );
    drop(redis);
    let (status, text) = server.ask(&format!("/redis?{url}")).await?;
    assert_eq!(status, 500);
    assert!(text.starts_with("3\n"), "{text}");
    server.stop().await?;
    application.containerd.close().await
}

/// That no component can call, and yet one that imports it runs.
#[tokio::test]
async fn an_interface_that_is_not_there_traps_when_called() -> Result<()> {
    let application = Application::new("").await?;
    let server = application.start(&[]).await?;
    assert_eq!(server.ask("/mqtt?mqtt://127.0.0.1").await?.0, 500);
    assert_eq!(server.ask("/variable?greeting").await?.0, 200);
    let stderr = server.stop().await?;
    assert!(stderr.contains("fermyon:spin/mqtt@2.0.0"), "{stderr}");
    application.containerd.close().await
}

#[tokio::test]
async fn a_component_of_spin_1_answers_requests() -> Result<()> {
    let application = Application::new("").await?;
    let server = application.start(&[]).await?;
    let answer = post(server.address, "/old/path?q", b"body").await?;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (201, "1 /old/path?q /path body\n")
    );
    server.stop().await?;
    application.containerd.close().await
}

#[tokio::test]
async fn a_runtime_config_that_cannot_be_read_is_named() -> Result<()> {
    let config = "[key_value_store.default]\ntype = \"cosmos\"\n";
    let application = Application::new(config).await?;
    let (client, image) = (&application.client, &application.image);
    let spec = client.spec(image, "it").env("PORT=8080");
    let status = client.refused("it", image, spec).await?;
    for part in [
        "the runtime config /runtime-config.toml can't be read",
        "cosmos",
    ] {
        assert!(status.message().contains(part), "{status:?}");
    }
    application.containerd.expect_clean()?;
    application.containerd.close().await
}
