//! Functions that are called by name: `file.wasm#function`.

use medley_test::*;

async fn call(image: &Image, calls: &[(&[&str], u32, &str, &str)]) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    for (number, (args, code, stdout, stderr)) in calls.iter().enumerate() {
        let id = format!("call-{number}");
        let spec = client.spec(image, &id).args(args.iter().copied());
        let done = client.run(&id, image, spec).await?;
        assert_eq!(done.code, *code, "{args:?}: {done:?}");
        assert_eq!(done.stdout, *stdout, "{args:?}");
        assert_eq!(done.stderr, *stderr, "{args:?}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_modules_functions_take_numbers_and_their_results_are_shown() -> Result<()> {
    let wat = r#"(module
        (func (export "add") (param i32 i32) (result i32)
            (i32.add (local.get 0) (local.get 1)))
        (func (export "half") (param f64) (result f64)
            (f64.div (local.get 0) (f64.const 2)))
        (memory i64 1)
        (func (export "pages") (result i64) (drop (memory.grow (i64.const 2))) (memory.size))
        (func (export "quiet")))"#;
    let image = images::wasm("numbers", &wat::parse_str(wat)?)?;
    let path = &image.args[0];
    let named = |name: &str| format!("{path}#{name}");
    let (add, half, pages, quiet) = (named("add"), named("half"), named("pages"), named("quiet"));
    call(
        &image,
        &[
            (&[&add, "40", "2"], 0, "42\n", ""),
            (&[&add, "-1", "4294967295"], 0, "-2\n", ""),
            (&[&half, "5"], 0, "2.5\n", ""),
            (&[&pages], 0, "3\n", ""),
            (&[&quiet, "ignored"], 0, "", ""),
        ],
    )
    .await
}

#[tokio::test]
async fn a_components_functions_take_text_and_an_error_is_a_failure() -> Result<()> {
    let image = images::wasm("functions", &guests::of_world("functions", "functions")?)?;
    let (greet, halve) = (
        format!("{}#greet", image.args[0]),
        format!("{}#halve", image.args[0]),
    );
    call(
        &image,
        &[
            (
                &[&greet, "you there", "2"],
                0,
                "hello, you there! hello, you there!\n",
                "",
            ),
            (&[&halve, "42"], 0, "21\n", ""),
            (&[&halve, "7"], 1, "", "an odd number has no half\n"),
        ],
    )
    .await
}

#[tokio::test]
async fn arguments_that_do_not_fit_fail_start_with_a_sentence() -> Result<()> {
    let image = images::wasm("functions", &guests::of_world("functions", "functions")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let path = &image.args[0];
    for (id, args, expected) in [
        (
            "few",
            vec![format!("{path}#greet"), "you".to_owned()],
            "greet takes 2 arguments (name: string, times: u8), but the container's arguments are 1",
        ),
        (
            "large",
            vec![format!("{path}#greet"), "you".to_owned(), "256".to_owned()],
            "greet takes times: u8, which \"256\" cannot be",
        ),
        (
            "none",
            vec![format!("{path}#nothing")],
            "has no function \"nothing\" to call; it exports greet, halve",
        ),
    ] {
        let spec = client.spec(&image, id).args(args);
        let status = client.refused(id, &image, spec).await?;
        assert!(status.message().contains(expected), "{}", status.message());
    }
    containerd.close().await
}
