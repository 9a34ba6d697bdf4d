//! wasi-nn, in a build that has it.

use medley_test::*;

/// A field of a protobuf message that holds bytes.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    // Seven bits a byte, the low ones first; one more bit says that there are more.
    let [low, high] = u16::try_from(content.len()).expect("short").to_le_bytes();
    let length = [low | 0x80, high << 1 | low >> 7];
    [&[number << 3 | 2], &length[..], content].concat()
}

/// A field of one that holds a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A matrix of two columns in ONNX: its rows are as many as are given, or said at run time.
fn matrix(name: &str, rows: Option<u8>) -> Vec<u8> {
    let rows = rows.map_or_else(|| field(2, "rows"), |rows| number(1, rows));
    let shape = [field(1, rows), field(1, number(1, 2))].concat();
    let tensor = [number(1, 1), field(2, shape)].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

/// A model in ONNX: `y = max(0, x × ((1, 2), (3, 4)))`.
fn model() -> Vec<u8> {
    let node = |inputs: &[&str], output: &str, operator: &str| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
        field(1, [inputs, field(2, output), field(4, operator)].concat())
    };
    let weights: Vec<u8> = [1_f32, 2.0, 3.0, 4.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    let weights = [
        number(1, 2),
        number(1, 2),
        number(2, 1),
        field(8, "w"),
        field(9, weights),
    ]
    .concat();
    let graph = [
        node(&["x", "w"], "product", "MatMul"),
        node(&["product"], "y", "Relu"),
        field(2, "graph"),
        field(5, weights),
        field(11, matrix("x", None)),
        field(12, matrix("y", None)),
    ]
    .concat();
    [number(1, 7), field(7, graph), field(8, number(2, 13))].concat()
}

async fn infer(name: &str, model: &[u8], calls: &[(&[&str], u32, &[&str])]) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let component = guests::of_world("nn", "nn")?;
    let image = ImageBuilder::scratch(name)
        .file("/nn.wasm", &component, 0o755)
        .file("/model.onnx", model, 0o644)
        .build()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    for (at, (numbers, code, words)) in calls.iter().enumerate() {
        let id = format!("run-{at}");
        let args = [&["/nn.wasm", "/model.onnx"], *numbers].concat();
        let spec = client.spec(&image, &id).args(args);
        let done = client.run(&id, &image, spec).await?;
        assert_eq!(done.code, *code, "{numbers:?}: {done:?}");
        for word in *words {
            let said = format!("{}{}", done.stdout, done.stderr);
            assert!(said.contains(word), "{numbers:?}: no {word:?} in {said:?}");
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn a_component_runs_the_model_in_its_image() -> Result<()> {
    let model = model();
    infer(
        "model",
        &model,
        &[
            (&["1", "1"], 0, &["y: 4 6\n"]),
            (&["1", "-1"], 0, &["y: 0 0\n"]),
            (&["0.5", "0"], 0, &["y: 0.5 1\n"]),
        ],
    )
    .await
}

#[tokio::test]
async fn input_of_another_shape_than_the_models_is_the_guests_error() -> Result<()> {
    infer(
        "shape",
        &model(),
        &[(&["1", "1", "1"], 1, &["compute: ", "wasi-nn: "])],
    )
    .await
}

#[tokio::test]
async fn a_model_that_is_none_is_the_guests_error() -> Result<()> {
    let model = model();
    infer(
        "cut",
        &model[..model.len() / 2],
        &[(&["1"], 1, &["load: ", "wasi-nn: "])],
    )
    .await?;
    infer(
        "none",
        b"no model",
        &[(&["1"], 1, &["load: ", "wasi-nn: "])],
    )
    .await
}
