//! Requests over TLS: whom a guest trusts.

use crate::http::on_host_network;
use medley_test::tls::SecureServer;
use medley_test::*;

/// Runs a guest that asks a server for `/hello` over TLS, with its certificate's authority known in each
/// of the places where it can be, and in none.
async fn trusts(wasm: Vec<u8>, args: impl Fn(String) -> Vec<String>) -> Result<()> {
    let server = SecureServer::start()?;
    let image = ImageBuilder::scratch("fetch")
        .file("/fetch.wasm", wasm, 0o644)
        .file("/own.pem", server.authority()?, 0o644)
        .file("/none.pem", "no certificate\n", 0o644)
        .entrypoint(["/fetch.wasm"])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let bundle = containerd.dir().join("bundle");
    std::fs::create_dir(&bundle)?;
    std::fs::write(bundle.join("ca-certificates.crt"), server.authority()?)?;
    for (id, bundled, named, trusted) in [
        ("built-in", false, None, false),
        ("bundle", true, None, true),
        ("named", false, Some("/own.pem"), true),
        ("none", true, Some("/none.pem"), false),
        ("missing", true, Some("/nope.pem"), false),
    ] {
        let mut spec = on_host_network(client.spec(&image, id));
        if bundled {
            spec = spec.bind(&bundle, "/etc/ssl/certs", true);
        }
        if let Some(file) = named {
            spec = spec.env(&format!("SSL_CERT_FILE={file}"));
        }
        let done = client
            .run(id, &image, spec.args(args(server.address().to_string())))
            .await?;
        if trusted {
            assert_eq!(
                (done.code, done.stdout.as_str()),
                (0, "200 hello\n"),
                "{id}: {done:?}"
            );
        } else {
            assert_eq!(done.code, 1, "{id}: {done:?}");
            // `TLS-certificate-error`
            let said = format!("{}{}", done.stdout, done.stderr);
            assert!(said.trim_end().ends_with(" 13"), "{id}: {done:?}");
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn a_request_of_0_2_trusts_whom_the_container_trusts() -> Result<()> {
    trusts(guests::of_world("http-fetch", "fetch")?, |address| {
        ["/fetch.wasm", &address, "NOTHING", "tls"]
            .map(str::to_owned)
            .to_vec()
    })
    .await
}

#[tokio::test]
async fn a_request_of_0_3_trusts_whom_the_container_trusts() -> Result<()> {
    trusts(
        guests::of_world("async-command", "async-command")?,
        |address| {
            ["/fetch.wasm", "fetch-tls", &address]
                .map(str::to_owned)
                .to_vec()
        },
    )
    .await
}
