//! The same guests on Wasmtime and on each of the others: the same exit codes, the same words.

use crate::engine_guests::with_guests;
use medley_test::containerd::Options;
use medley_test::stdio::Stdin;
use medley_test::*;

const HANDLER: &str = "run.oci.handler";

/// What a guest is run with, and how it ends.
struct Run {
    args: &'static [&'static str],
    cwd: &'static str,
    input: Option<&'static str>,
    code: u32,
    /// Words of a trap's message, of which the rest is the engine's own.
    trap: Option<&'static str>,
    /// On which it ends otherwise, as docs/engines.md says.
    but_on: Option<Engine>,
}

const fn run(args: &'static [&'static str], code: u32) -> Run {
    Run {
        args,
        cwd: "/",
        input: None,
        code,
        trap: None,
        but_on: None,
    }
}

const fn traps(args: &'static [&'static str], words: &'static str) -> Run {
    let mut run = run(args, 134);
    run.trap = Some(words);
    run
}

impl Run {
    const fn at(mut self, cwd: &'static str) -> Self {
        self.cwd = cwd;
        self
    }

    const fn but_on(mut self, engine: Engine) -> Self {
        self.but_on = Some(engine);
        self
    }

    const fn reads(mut self, input: &'static str) -> Self {
        self.input = Some(input);
        self
    }
}

const RUNS: &[Run] = &[
    run(&["/hello.wasm", "a b", "", "ü"], 0),
    run(&["/exit.wasm", "0"], 0),
    run(&["/exit.wasm", "1"], 1),
    run(&["/exit.wasm", "42"], 42),
    run(&["/exit.wasm", "126"], 126),
    run(&["/exit.wasm", "255"], 255),
    run(&["/exit.wasm", "256"], 0),
    run(&["/exit.wasm", "-1"], 255),
    run(&["/env.wasm"], 0).at("/data"),
    // On stdout what it has read, on stderr how much.
    run(&["/cat.wasm"], 0),
    run(&["/cat.wasm"], 0).reads("some words\nand more"),
    run(&["/files.wasm", "read", "/etc/note"], 0),
    run(&["/files.wasm", "read", "note"], 0).at("/data"),
    run(&["/files.wasm", "read", "/data/note"], 0).at("/etc"),
    run(&["/files.wasm", "read", "/nothing"], 1),
    run(&["/files.wasm", "write", "/data/mine", "words"], 0),
    run(&["/files.wasm", "list", "/etc"], 0),
    run(&["/files.wasm", "read", "/../etc/note"], 1).but_on(Engine::Wasmer),
    run(&["/files.wasm", "read", "/fixed/note"], 0),
    run(&["/files.wasm", "write", "/fixed/x", "words"], 1),
    run(&["/files.wasm", "write", "/free/x", "words"], 0),
    run(&["/files.wasm", "read", "/free/x"], 0),
    run(&["/files.wasm", "write", "/free/x", "w"], 0),
    run(&["/files.wasm", "read", "/free/x"], 0),
    run(&["/exports.wasm"], 0),
    run(&["/exports.wasm#other"], 0),
    run(&["/text.wat"], 0),
    run(&["/numbers.wasm#ready"], 0),
    run(&["/numbers.wasm#_initialize"], 0),
    run(&["/numbers.wasm#quiet", "ignored"], 0),
    run(&["/numbers.wasm#add", "40", "2"], 0),
    run(&["/numbers.wasm#add", "-1", "4294967295"], 0),
    run(&["/numbers.wasm#wide", "18446744073709551615"], 0),
    run(&["/numbers.wasm#third", "1"], 0),
    run(&["/numbers.wasm#half", "-5e-1"], 0),
    run(&["/numbers.wasm#swap", "1", "2"], 0),
    run(&["/numbers.wasm#vector"], 0),
    run(&["/numbers.wasm#none"], 0),
    run(&["/numbers.wasm#grow", "2"], 0),
    run(&["/numbers.wasm#grow", "65536"], 0),
    traps(
        &["/numbers.wasm#divide", "1", "0"],
        "integer divide by zero",
    ),
    traps(
        &["/numbers.wasm#divide", "2147483648", "-1"],
        "integer overflow",
    ),
    traps(
        &["/numbers.wasm#load", "65535"],
        "out of bounds memory access",
    ),
    traps(&["/trap.wasm"], "unreachable"),
    traps(&["/unreachable.wasm"], "unreachable"),
    traps(&["/deep.wasm"], "call stack exhausted"),
];

/// What a guest may not do in a dir fails with one errno on WasmEdge and with another on Wasmtime.
const NOT_CAPABLE: &str = "Capabilities insufficient";
const NOT_PERMITTED: &str = "Operation not permitted";

each_engine_beside! {
    async fn every_guest_ends_alike_and_says_the_same(other: Engine) -> Result<()> {
        let (containerd, image) = with_guests(other, Options::new(Runtime::Medley)).await?;
        let client = containerd.client().await?;
        let volume = containerd.dir().join("volume");
        std::fs::create_dir(&volume)?;
        std::fs::write(volume.join("note"), "a note of the volume\n")?;
        let mut wrong = Vec::new();
        let runs = RUNS.iter().filter(|run| run.but_on != Some(other));
        for (number, run) in runs.enumerate() {
            let mut seen = Vec::new();
            for engine in [Engine::Wasmtime, other].map(Engine::name) {
                let free = containerd.dir().join(format!("free-{engine}"));
                std::fs::create_dir_all(&free)?;
                let id = format!("{engine}-{number}");
                let spec = client.spec(&image, &id).args(run.args.iter().copied());
                let spec = spec
                    .annotation(HANDLER, engine)
                    .bind(&volume, "/fixed", true)
                    .bind(&free, "/free", false)
                    .cwd(run.cwd);
                let input = run
                    .input
                    .map_or(Stdin::None, |text| Stdin::Bytes(text.into()));
                let done = client.run_with(&id, &image, spec, input).await?;
                let trapped =
                    |words| done.stderr.contains("wasm trap: ") && done.stderr.contains(words);
                if done.code != run.code || !run.trap.is_none_or(trapped) {
                    wrong.push(format!("{:?} on {engine}: {done:?}", run.args));
                }
                let mut lines: Vec<_> = done.stdout.lines().map(str::to_owned).collect();
                // The order of a dir and of the environment is not specified.
                if !run.args[0].contains('#') {
                    lines.sort();
                }
                let said = done.stderr.replace(NOT_CAPABLE, NOT_PERMITTED);
                seen.push((lines, run.trap.is_none().then_some(said)));
            }
            if seen[0] != seen[1] {
                wrong.push(format!("{:?} in {}: {seen:?}", run.args, run.cwd));
            }
        }
        // All of them: one run shows where the engines differ.
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(std::fs::read_dir(&volume)?.count(), 1, "it was writable");
        containerd.close().await
    }

    async fn what_cannot_be_called_is_refused_in_the_same_words(other: Engine) -> Result<()> {
        const REFUSED: &[(&[&str], &str)] = &[
            (
                &["/numbers.wasm#add", "1"],
                "add takes 2 arguments (i32, i32), but the container's arguments are 1",
            ),
            (
                &["/numbers.wasm#add", "1", "two"],
                "add takes i32, which \"two\" cannot be",
            ),
            (
                &["/numbers.wasm#take", "1"],
                "it takes (reference), and an argument cannot be a reference",
            ),
            (
                &["/numbers.wasm"],
                "the start of a command takes and gives nothing, and this takes (i32) and gives ()",
            ),
            (
                &["/exports.wasm#nothing"],
                "has no function \"nothing\" to call; it exports _start, other",
            ),
            (&["/unknown-import.wasm"], "which ENGINE does not provide"),
        ];
        let (containerd, image) = with_guests(other, Options::new(Runtime::Medley)).await?;
        let client = containerd.client().await?;
        for (args, words) in REFUSED {
            let mut seen = Vec::new();
            for engine in [Engine::Wasmtime, other].map(Engine::name) {
                let spec = client.spec(&image, "it").args(args.iter().copied());
                let spec = spec.annotation(HANDLER, engine);
                let status = client.refused("it", &image, spec).await?;
                let text = status.message().replace(engine, "ENGINE");
                assert!(text.contains(words), "{args:?}: {text}");
                seen.push((status.code(), text));
            }
            assert_eq!(seen[0], seen[1], "{args:?}");
        }
        containerd.close().await
    }

    async fn a_signal_ends_a_guest_that_loops_and_one_that_sleeps(other: Engine) -> Result<()> {
        let (containerd, image) = with_guests(other, Options::new(Runtime::Medley)).await?;
        let client = containerd.client().await?;
        let cases = [
            ("spin", 15, 143),
            ("tick", 15, 143),
            ("spin", 9, 137),
            ("tick", 2, 130),
        ];
        for (number, (guest, signal, expected)) in cases.into_iter().enumerate() {
            for engine in [Engine::Wasmtime, other].map(Engine::name) {
                let id = format!("{engine}-{number}");
                let file = format!("/{guest}.wasm");
                let spec = client.spec(&image, &id).args([&file, "100", "10000"]);
                let container = client
                    .create(&id, &image, spec.annotation(HANDLER, engine))
                    .await?;
                let mut task = container.start(Stdin::None).await?;
                // Start has answered: the guest runs, and its handlers are set.
                task.kill(signal, false).await?;
                assert_eq!(task.wait().await?, expected, "{guest} {signal} {engine}");
                task.output().await?;
                task.delete().await?;
                container.delete().await?;
            }
        }
        containerd.close().await
    }

    /// More than its limit, that is; it is not killed.
    async fn a_guest_that_wants_too_much_memory_is_told_so(other: Engine) -> Result<()> {
        const LIMIT: u64 = 96;
        let (containerd, image) = with_guests(other, Options::new(Runtime::Medley)).await?;
        let client = containerd.client().await?;
        for engine in [Engine::Wasmtime, other].map(Engine::name) {
            let spec = client.spec(&image, engine).args(["/grow.wasm", "touch"]);
            let spec = spec.annotation(HANDLER, engine).edit(|json| {
                json["linux"]["resources"]["memory"] =
                    serde_json::json!({"limit": LIMIT << 20, "swap": LIMIT << 20});
            });
            let done = client.run(engine, &image, spec).await?;
            let mib = done.stdout.trim_end().rsplit('\n').next();
            let mib = mib.and_then(|line| line.strip_suffix(" MiB")?.parse::<u64>().ok());
            assert!(
                done.code == 0 && mib.is_some_and(|mib| (LIMIT / 2..LIMIT).contains(&mib)),
                "{done:?}"
            );
        }
        containerd.close().await
    }
}
