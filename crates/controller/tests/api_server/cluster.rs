//! etcd and kube-apiserver on loopback, for one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use tempfile::TempDir;

/// Where the controller and its installer are.
pub(crate) const NAMESPACE: &str = "medley";

/// How long any step may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Who may do everything, and who may do what `kind/controller` says.
const TOKENS: &str = "\
admin,admin,admin,system:masters
controller,system:serviceaccount:medley:medley-controller,controller,\"system:serviceaccounts,system:authenticated\"
";

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An API server of one test's own.
pub(crate) struct Cluster {
    // Before the dir that they work in.
    apiserver: Process,
    _etcd: Process,
    dir: TempDir,
}

impl Cluster {
    /// Starts it, with the rights and the namespace of `kind/controller`.
    pub(crate) async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = dir.path();
        certificates(at)?;
        std::fs::write(at.join("tokens"), TOKENS)?;
        let (store, peers, port) = (free()?, free()?, free()?);
        let store = format!("http://127.0.0.1:{store}");
        let etcd = started(
            at,
            "etcd",
            &[
                format!("--data-dir={}", at.join("store").display()),
                format!("--listen-client-urls={store}"),
                format!("--advertise-client-urls={store}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
            ],
        )?;
        let file = |name: &str| at.join(name).display().to_string();
        let apiserver = started(
            at,
            "kube-apiserver",
            &[
                format!("--etcd-servers={store}"),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                // There are no controllers to make the accounts that it looks for.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--token-auth-file={}", file("tokens")),
                format!("--service-account-key-file={}", file("server.key")),
                format!("--service-account-signing-key-file={}", file("server.key")),
                format!("--tls-cert-file={}", file("server.crt")),
                format!("--tls-private-key-file={}", file("server.key")),
            ],
        )?;
        for user in ["admin", "controller"] {
            std::fs::write(at.join(user), kubeconfig(at, port, user))?;
        }
        let mut cluster = Self {
            apiserver,
            _etcd: etcd,
            dir,
        };
        cluster.answers().await?;
        // The API server makes it once it is up.
        let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
        let made = await_condition(namespaces, "default", |found: Option<&Namespace>| {
            found.is_some()
        });
        tokio::time::timeout(LONG, made).await??;
        cluster.kubectl(&["create", "namespace", NAMESPACE])?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kind/controller");
        let manifests = manifests.to_str().context("a path that is no text")?;
        cluster.kubectl(&["apply", "-k", manifests])?;
        Ok(cluster)
    }

    /// Waits for the API server. It has no event to wait for before it listens.
    async fn answers(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = std::time::Instant::now() + LONG;
        while let Err(error) = client.apiserver_version().await {
            if std::time::Instant::now() > deadline || self.has_ended()? {
                let log = std::fs::read_to_string(self.dir.path().join("kube-apiserver.log"))?;
                bail!("kube-apiserver does not answer ({error}): {log}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.apiserver.0.try_wait()?.is_some())
    }

    /// One who may do everything.
    pub(crate) async fn client(&self) -> Result<Client> {
        let config = Kubeconfig::read_from(self.dir.path().join("admin"))?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl with every right; says what it printed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = Command::new(program("kubectl")?)
            .arg("--kubeconfig")
            .arg(self.dir.path().join("admin"))
            .args(args)
            .env("HOME", self.dir.path())
            .output()?;
        ensure!(done.status.success(), "kubectl {args:?}: {done:?}");
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Starts the controller, with the rights of its service account.
    pub(crate) fn controller(&self, identity: &str) -> Result<Process> {
        let log = std::fs::File::create(self.dir.path().join(identity))?;
        let child = Command::new(env!("CARGO_BIN_EXE_medley-controller"))
            .args([
                "--namespace",
                NAMESPACE,
                "--identity",
                identity,
                "--lease",
                "5",
            ])
            .env("KUBECONFIG", self.dir.path().join("controller"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Process(child))
    }

    /// What a controller has printed.
    pub(crate) fn said(&self, identity: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join(identity))?)
    }
}

/// A program of the dirs in MEDLEY_KUBERNETES, which is written as a PATH is.
fn program(name: &str) -> Result<PathBuf> {
    let dirs = std::env::var_os("MEDLEY_KUBERNETES").context(
        "MEDLEY_KUBERNETES is not set: it names the dirs of etcd, kube-apiserver and kubectl; make \
         test-controller brings them",
    )?;
    let found = std::env::split_paths(&dirs)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "there is no {name} in MEDLEY_KUBERNETES, {}",
            dirs.display()
        )
    })
}

/// A program with its log in a file.
fn started(dir: &Path, name: &str, args: &[String]) -> Result<Process> {
    let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
    let child = Command::new(program(name)?)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(Process(child))
}

/// A port that nothing listens on.
fn free() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An authority, and the server's certificate by it.
fn certificates(dir: &Path) -> Result<()> {
    let made = |line: &str| -> Result<()> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty line")?;
        let done = Command::new(program)
            .args(words)
            .current_dir(dir)
            .output()?;
        ensure!(done.status.success(), "{line}: {done:?}");
        Ok(())
    };
    std::fs::write(
        dir.join("names"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
    )?;
    made(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
    )?;
    made(
        // Not by the command below: kube-apiserver takes SEC 1's form alone for the key of accounts.
        "openssl ecparam -name prime256v1 -genkey -noout -out server.key",
    )?;
    made("openssl req -new -key server.key -subj /CN=server -out server.csr")?;
    made(
        "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names \
         -out server.crt",
    )
}

fn kubeconfig(dir: &Path, port: u16, token: &str) -> String {
    let authority = dir.join("ca.crt");
    let authority = authority.display();
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: it, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{authority}\"}}}}]
users: [{{name: it, user: {{token: {token}}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
current-context: it
"
    )
}
