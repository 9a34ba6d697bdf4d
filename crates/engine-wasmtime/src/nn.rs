//! wasi-nn for components: models in ONNX, run on the processor by tract. It is in Rust alone, so
//! that the shim stays one static file; the libraries behind Wasmtime's own backends are loaded at
//! run time, from where a container has none.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _,
    IntoRunnable as _, IntoTValue as _, TVec, TractResult, TypedRunnableModel,
};
use wasmtime_wasi_nn::backend::{
    BackendError, BackendExecutionContext, BackendFromDir, BackendGraph, BackendInner, Id,
    NamedTensor,
};
use wasmtime_wasi_nn::wit::types::{ExecutionTarget, GraphEncoding, TensorType};
use wasmtime_wasi_nn::wit::{self, WasiNnView};
use wasmtime_wasi_nn::{Backend, ExecutionContext, Graph, InMemoryRegistry, Registry, Tensor};

/// What the engine keeps for one component.
pub(crate) fn context() -> wit::WasiNnCtx {
    // No graph has a name: a container's models are in its own files.
    let registry = Registry::from(InMemoryRegistry::new());
    wit::WasiNnCtx::new([Backend::from(Onnx)], registry)
}

pub(crate) use wit::add_to_linker;

/// A view of one component's.
pub(crate) fn view<'a>(
    table: &'a mut wasmtime::component::ResourceTable,
    context: &'a mut wit::WasiNnCtx,
) -> WasiNnView<'a> {
    WasiNnView::new(table, context)
}

/// Runs models in ONNX.
struct Onnx;

impl BackendInner for Onnx {
    fn encoding(&self) -> GraphEncoding {
        GraphEncoding::Onnx
    }

    fn load(&mut self, builders: &[&[u8]], _: ExecutionTarget) -> Result<Graph, BackendError> {
        let &[mut model] = builders else {
            return Err(BackendError::InvalidNumberOfBuilders(1, builders.len()));
        };
        let model = guarded(|| tract_onnx::onnx().model_for_read(&mut model))?;
        let inputs = names(&model, model.input_outlets());
        let outputs = names(&model, model.output_outlets());
        let model = Arc::new(Model {
            inputs: inputs.map_err(failed)?,
            outputs: outputs.map_err(failed)?,
            model,
            plan: Mutex::new(None),
        });
        let graph: Box<dyn BackendGraph> = Box::new(OnnxGraph(model));
        Ok(graph.into())
    }

    fn as_dir_loadable(&mut self) -> Option<&mut dyn BackendFromDir> {
        None
    }
}

/// What goes into a model, by type and shape.
type Shapes = Vec<(DatumType, Vec<usize>)>;

struct Model {
    model: InferenceModel,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// The model as it is run, made for inputs like the last ones.
    plan: Mutex<Option<(Shapes, Arc<TypedRunnableModel>)>>,
}

impl Model {
    fn plan(&self, shapes: Shapes) -> Result<Arc<TypedRunnableModel>, BackendError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, plan)) = &*plan
            && *known == shapes
        {
            return Ok(Arc::clone(plan));
        }
        let made = guarded(|| {
            let mut model = self.model.clone();
            for (input, (kind, shape)) in shapes.iter().enumerate() {
                model.set_input_fact(input, InferenceFact::dt_shape(*kind, shape))?;
            }
            model.into_optimized()?.into_runnable()
        })?;
        *plan = Some((shapes, Arc::clone(&made)));
        Ok(made)
    }

    fn run(&self, given: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let mut inputs: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        for NamedTensor { name, tensor } in given {
            let at = self.inputs.iter().position(|input| *input == name);
            let at = at.or_else(|| name.parse().ok().filter(|at| *at < inputs.len()));
            let at = at.ok_or_else(|| {
                let inputs = self.inputs.join(", ");
                error(format!("the model has no input {name:?}, but: {inputs}"))
            })?;
            inputs[at] = Some(tensor);
        }
        let inputs: Vec<_> = inputs
            .into_iter()
            .zip(&self.inputs)
            .map(|(tensor, name)| match tensor {
                Some(tensor) => taken(&tensor, name),
                None => Err(error(format!("the model's input {name:?} is not given"))),
            })
            .collect::<Result<_, _>>()?;
        let shapes = inputs
            .iter()
            .map(|input| (input.datum_type(), input.shape().to_vec()))
            .collect();
        let plan = self.plan(shapes)?;
        let inputs: TVec<_> = inputs
            .into_iter()
            .map(|input| input.into_tvalue())
            .collect();
        let outputs = guarded(|| plan.run(inputs))?;
        outputs
            .iter()
            .zip(&self.outputs)
            .map(|(output, name)| {
                Ok(NamedTensor {
                    name: name.clone(),
                    tensor: given_back(output, name)?,
                })
            })
            .collect()
    }
}

/// The names of a model's inputs or outputs.
fn names(
    model: &InferenceModel,
    outlets: TractResult<&[tract_onnx::prelude::OutletId]>,
) -> TractResult<Vec<String>> {
    let name = |outlet: &tract_onnx::prelude::OutletId| {
        let label = model.outlet_label(*outlet);
        label.map_or_else(|| model.node(outlet.node).name.clone(), str::to_owned)
    };
    Ok(outlets?.iter().map(name).collect())
}

/// What a tensor may hold, as the interface and tract call it. tract has no bf16.
const KINDS: [(TensorType, DatumType); 6] = [
    (TensorType::Fp16, DatumType::F16),
    (TensorType::Fp32, DatumType::F32),
    (TensorType::Fp64, DatumType::F64),
    (TensorType::U8, DatumType::U8),
    (TensorType::I32, DatumType::I32),
    (TensorType::I64, DatumType::I64),
];

fn unsupported(kind: &impl std::fmt::Debug, name: &str) -> BackendError {
    error(format!("no tensor can hold {kind:?}, which {name:?} does"))
}

/// A guest's tensor as tract has it.
fn taken(tensor: &Tensor, name: &str) -> Result<tract_onnx::prelude::Tensor, BackendError> {
    let known = KINDS.iter().find(|(theirs, _)| *theirs == tensor.ty);
    let (_, kind) = known.ok_or_else(|| unsupported(&tensor.ty, name))?;
    let shape: Vec<_> = tensor
        .dimensions
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(usize::MAX))
        .collect();
    // SAFETY: of the types above every value is one, and the function checks that there are as many
    // bytes as the shape says.
    let taken = unsafe { tract_onnx::prelude::Tensor::from_raw_dt(*kind, &shape, &tensor.data) };
    taken.map_err(|reason| error(format!("the model's input {name:?}: {reason:#}")))
}

/// A tensor of tract's as a guest has it.
fn given_back(tensor: &tract_onnx::prelude::Tensor, name: &str) -> Result<Tensor, BackendError> {
    let kind = tensor.datum_type();
    let known = KINDS.iter().find(|(_, ours)| *ours == kind);
    let (kind, _) = known.ok_or_else(|| unsupported(&kind, name))?;
    let dimensions = tensor
        .shape()
        .iter()
        .map(|size| u32::try_from(*size).map_err(|_| BackendError::NotEnoughMemory(*size)))
        .collect::<Result<_, _>>()?;
    Ok(Tensor::new(dimensions, *kind, tensor.as_bytes().to_vec()))
}

struct OnnxGraph(Arc<Model>);

impl BackendGraph for OnnxGraph {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let context: Box<dyn BackendExecutionContext> = Box::new(OnnxContext(Arc::clone(&self.0)));
        Ok(context.into())
    }
}

struct OnnxContext(Arc<Model>);

impl BackendExecutionContext for OnnxContext {
    fn compute(
        &mut self,
        inputs: Option<Vec<NamedTensor>>,
    ) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        inputs.map(|inputs| self.0.run(inputs)).transpose()
    }

    // Of modules, to which this is never linked: components give all inputs at once.
    fn set_input(&mut self, _: Id, _: &Tensor) -> Result<(), BackendError> {
        Err(error("inputs are given with compute".to_owned()))
    }

    fn get_output(&mut self, _: Id) -> Result<Tensor, BackendError> {
        Err(error("outputs come with compute".to_owned()))
    }
}

/// An error for the guest, which is told no more than that there is one: the reason goes to the
/// container's log.
fn error(reason: String) -> BackendError {
    drop(writeln!(std::io::stderr(), "wasi-nn: {reason}"));
    BackendError::BackendAccess(wasmtime::Error::msg(reason))
}

fn failed(reason: impl std::fmt::Display) -> BackendError {
    error(format!("{reason:#}"))
}

/// What tract does with a model that has not been checked: it may panic at one that is malformed,
/// which is the guest's error and not its end.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, BackendError> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(error("the model is malformed".to_owned())),
    }
}
