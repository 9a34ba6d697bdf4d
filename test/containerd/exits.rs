//! Exit codes, of Linux and of Wasm containers.

use medley_test::*;

/// Those that wasmtime's own `proc_exit` would trap on are among them.
pub(crate) const ALL: &[u32] = &[0, 1, 42, 125, 126, 127, 128, 134, 137, 143, 255];

each_runtime! {
    async fn a_linux_container_says_hello_and_exits_with_0(runtime: Runtime) -> Result<()> {
        let done = Scenario::of(runtime, images::linux())
            .args(["/bin/echo", "hello"])
            .finished().await?;
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "hello\n", ""));
        Ok(())
    }

    async fn exit_codes_of_a_linux_container_are_its_own(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        for code in [0, 1, 42, 126, 127, 128, 137, 255] {
            let id = format!("exit-{code}");
            let spec = client.spec(&image, &id);
            let spec = spec.args(["/bin/sh", "-c", &format!("exit {code}")]);
            assert_eq!(client.run(&id, &image, spec).await?.code, code);
        }
        containerd.close().await
    }
}

async fn hello(wasm: Vec<u8>) -> Result<()> {
    let done = Scenario::of(Runtime::Medley, images::wasm("hello", &wasm))
        .finished()
        .await?;
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "hello\n", "")
    );
    Ok(())
}

async fn exit_codes(wasm: Vec<u8>, all: &[u32]) -> Result<()> {
    codes(&images::wasm("exit", &wasm)?, &["/exit.wasm"], all).await
}

/// Runs an image with each of these codes as its last argument.
pub(crate) async fn codes(image: &Image, args: &[&str], all: &[u32]) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    for code in all.iter().copied() {
        let id = format!("exit-{code}");
        let number = code.to_string();
        let args = args.iter().copied().chain([number.as_str()]);
        let spec = client.spec(image, &id).args(args);
        let done = client.run(&id, image, spec).await?;
        assert_eq!((done.code, done.stderr.as_str()), (code, ""));
    }
    containerd.close().await
}

async fn trap(wasm: Vec<u8>, frame: &str) -> Result<()> {
    let done = Scenario::of(Runtime::Medley, images::wasm("trap", &wasm))
        .finished()
        .await?;
    assert_eq!(done.code, 134, "{done:?}");
    assert!(
        done.stderr.contains("unreachable"),
        "no reason in: {}",
        done.stderr
    );
    assert!(
        done.stderr.contains(frame),
        "no frame `{frame}` in: {}",
        done.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_module_says_hello_and_exits_with_0() -> Result<()> {
    hello(guests::module("hello")?).await
}

#[tokio::test]
async fn a_component_says_hello_and_exits_with_0() -> Result<()> {
    hello(guests::component("hello")?).await
}

#[tokio::test]
async fn exit_codes_of_a_module_are_its_own() -> Result<()> {
    exit_codes(guests::module("exit")?, ALL).await
}

#[tokio::test]
async fn exit_codes_of_a_component_are_its_own() -> Result<()> {
    exit_codes(guests::module("exit-with-code")?, ALL).await
}

/// `wasi:cli/exit` knows success and failure; the adapter asks for no more.
#[tokio::test]
async fn a_component_of_a_module_exits_with_0_or_1() -> Result<()> {
    exit_codes(guests::component("exit")?, &[0, 1]).await
}

#[tokio::test]
async fn a_trap_of_a_module_exits_with_134_and_a_backtrace() -> Result<()> {
    trap(guests::module("trap")?, "deepe").await
}

#[tokio::test]
async fn a_trap_of_a_component_exits_with_134_and_a_backtrace() -> Result<()> {
    trap(guests::component("trap")?, "deepe").await
}

#[tokio::test]
async fn a_trap_of_a_module_with_debug_information_names_the_line() -> Result<()> {
    trap(guests::module("trap")?, "trap.c:3").await
}

#[tokio::test]
async fn a_module_that_uses_up_its_stack_traps_with_a_backtrace() -> Result<()> {
    for wasm in [guests::module("recurse")?, guests::component("recurse")?] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let image = images::wasm("recurse", &wasm)?;
        containerd.import(&[&image]).await?;
        let done = containerd.client().await?.run_image("it", &image).await?;
        assert_eq!(done.code, 134, "{done:?}");
        for part in ["stack", "deeper"] {
            assert!(done.stderr.contains(part), "no {part} in: {}", done.stderr);
        }
        assert!(done.stderr.lines().count() < 200, "{}", done.stderr);
        containerd.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_trap_of_a_module_without_libc_names_its_function() -> Result<()> {
    trap(guests::module("unreachable")?, "first_step").await
}
