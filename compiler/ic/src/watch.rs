//! What each kernel of a model gets wrong: a run in which every kernel stores its results in memory of its own, against
//! the reference evaluation of each kernel on the inputs that reached it.
//!
//! Bits do not depend on the machine, and neither do these errors.

mod difference;

use crate::import::Imported;
use crate::pipeline::{self, CompileError, Lowered, Options, Source};
use crate::runner::start;
use crate::tensors::random_tensor;
use ic_artifact::KernelError;
use ic_codegen::Target;
use ic_ir::eval::{Symbols, bind_symbols, eval_values};
use ic_ir::kernel::{Anchor, BufferKind, Evaluated, Kernel, Program, Step, eval_kernels};
use ic_ir::{Graph, OpError, ValueId};
use ic_runtime::Outputs;
use ic_types::{DType, Data, Tensor, TensorView};

/// The extent of a dim that nobody binds, where its range allows it.
const EXTENT: i64 = 8;

/// What was found out about a model's kernels.
#[derive(Clone, PartialEq, Debug)]
pub struct Watched {
    /// The kernels, in the order in which they run.
    pub kernels: Vec<KernelError>,
    /// Kernels that were not measured: those in branches and loops, and of strings and sequences.
    pub n_left: usize,
}

/// Compiles a model for this CPU with the passes of `options`, states and hoisted inputs aside, runs it on `inputs`, and
/// measures each kernel. `kernels` names the instruction set of library kernels, as for a session.
///
/// # Errors
/// If the model cannot be compiled, run or evaluated.
pub fn kernel_errors(
    imported: &Imported,
    options: &Options,
    inputs: &[Tensor],
    kernels: Option<&str>,
) -> Result<Watched, CompileError> {
    if options.calibration.is_some() {
        return Err(refuse("not supported: models that are quantized by calibration"));
    }
    let host = Target::host().ok_or_else(|| refuse("kernels run on the CPU, and there is no code for this one"))?;
    let (states, hoist) = (Vec::new(), Vec::new());
    let options = Options { targets: vec![host], states, hoist, watch: true, ..options.clone() };
    let models = vec![(Source::main("watched"), imported.clone())];
    let package = pipeline::lower_imported(models, &options, &mut |_| (), &mut |_, _| ())?;
    let model = &package.models()[0];
    let mut session = ic_runtime::Options::new();
    if let Some(kernels) = kernels {
        session = session.kernels(kernels);
    }
    let (session, _folder) = start(&package, &options, &session, &ic_runtime::LoadOptions::new())?;
    let named: Vec<(&str, TensorView<'_>)> =
        model.program.inputs.iter().zip(inputs).map(|(name, tensor)| (&**name, tensor.view())).collect();
    let found = session.run(&named).map_err(|e| refuse(&e.to_string()))?;
    measure(model, inputs, &found).map_err(|e| refuse(&e.to_string()))
}

/// Seeded random inputs for a graph; a dim that nobody binds is [`EXTENT`], or as near to that as its range allows.
///
/// # Errors
/// If an input is of a type that has no random form.
pub fn random_inputs(graph: &Graph) -> Result<Vec<Tensor>, CompileError> {
    let extent = |name: &str| {
        let range = graph.symbols.iter().find(|(symbol, _)| ***symbol == *name).map(|(_, range)| range);
        Some(range.map_or(EXTENT, |range| EXTENT.clamp(range.min, range.max.max(range.min))))
    };
    let inputs = graph.inputs().iter().enumerate().map(|(i, &value)| {
        let name = graph.value(value).name.as_deref().unwrap_or_default();
        let ty = graph.ty(value).as_tensor().ok_or_else(|| refuse(&format!("input `{name}` is no tensor")))?;
        let shape = ty.shape.iter().map(|dim| dim.eval(&extent).ok().and_then(|n| usize::try_from(n).ok()));
        let shape = shape.collect::<Option<_>>().ok_or_else(|| refuse(&format!("input `{name}` has no extents")))?;
        let tensor = random_tensor(ty.dtype, shape, i as u64 + 1);
        tensor.ok_or_else(|| refuse(&format!("input `{name}`: there is no random {}", ty.dtype)))
    });
    inputs.collect()
}

/// Makes an output of each buffer that kernels outside of branches and loops read or write.
pub(crate) fn watch(program: &mut Program) {
    let mut watched = Vec::new();
    for step in &program.steps {
        if let Step::Kernel { args, .. } = step {
            watched.extend(args.iter().map(|&id| match program.buffers[id as usize].kind {
                BufferKind::View { of, .. } => of,
                _ => id,
            }));
        }
    }
    for id in watched {
        let buffer = &mut program.buffers[id as usize];
        if buffer.kind == BufferKind::Temporary && is_number(buffer.ty.dtype) {
            buffer.kind = BufferKind::Output(program.outputs.len() as u32);
            program.outputs.push(format!("#buffer{id}").into());
        }
    }
}

/// Whether elements are numbers in memory.
fn is_number(dtype: DType) -> bool {
    dtype.size().is_some() && (dtype.is_float() || dtype.is_int() || dtype == DType::Bool)
}

fn measure(model: &Lowered, inputs: &[Tensor], found: &Outputs) -> Result<Watched, OpError> {
    let (program, graph) = (&model.program, &model.graph);
    let constants: Vec<ValueId> = program
        .buffers
        .iter()
        .filter_map(|buffer| if let BufferKind::Constant(value) = buffer.kind { Some(value) } else { None })
        .collect();
    let mut constants = eval_values(graph, &[], &Symbols::new(), &constants)?.into_iter();
    let memory = program.buffers.iter().map(|buffer| match &buffer.kind {
        BufferKind::Input(i) => inputs.get(*i as usize).map(|tensor| tensor.data().clone()),
        BufferKind::Output(i) => found.get(&program.outputs[*i as usize]).map(|tensor| tensor.data().clone()),
        BufferKind::Constant(_) => constants.next().map(|tensor| tensor.data().clone()),
        BufferKind::State(_) | BufferKind::NextState(_) | BufferKind::Temporary | BufferKind::View { .. } => None,
    });
    let memory = memory.collect();
    let symbols = bind_symbols(graph, inputs, &Symbols::new())?;
    let (mut kernels, mut failed) = (Vec::new(), None);
    let n_left =
        eval_kernels(
            program,
            memory,
            &symbols,
            &mut |Evaluated { kernel, location, found, expected }| match expected {
                Ok(expected) => kernels.push(error(kernels.len(), kernel, location, &found, &expected)),
                Err(error) => failed = failed.take().or(Some(OpError(format!("kernel of `{location}`: {error}")))),
            },
        )?;
    failed.map_or(Ok(Watched { kernels, n_left }), Err)
}

fn error(number: usize, kernel: &Kernel, location: &str, found: &[Data], expected: &[Data]) -> KernelError {
    let mut error = KernelError { kernel: format!("k{number:04}"), ..KernelError::default() };
    (error.what, error.nodes) = (what(kernel), location.into());
    for (found, expected) in found.iter().zip(expected) {
        let difference = difference::difference(found, expected);
        error.elements += expected.len() as u64;
        error.absolute = difference::larger(error.absolute, difference.absolute);
        error.relative = difference::larger(error.relative, difference.relative);
        error.ulps = error.ulps.max(difference.ulps);
    }
    error
}

/// The ops that a kernel is about, or the kind of its stages.
fn what(kernel: &Kernel) -> String {
    let mut names: Vec<&str> = Vec::new();
    for stage in &kernel.stages {
        let name = match &stage.anchor {
            Anchor::Op { op, .. } => op.name(),
            Anchor::Reduce(_) => "reduce",
            Anchor::Pointwise => "pointwise",
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" + ")
}

fn refuse(message: &str) -> CompileError {
    CompileError::Watch(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::kernel::eval_program;
    use ic_passes::{PartitionOptions, partition};

    #[test]
    fn a_wrong_kernel_is_found_and_those_after_it_get_its_results() {
        let text = "graph @chain(%x: f32[4]) {
  %0 = exp(%x) : f32[4] @\"first\"
  %1 = neg(%0) : f32[4] @\"second\"
  %2 = abs(%1) : f32[4] @\"third\"
  return \"y\" = %2
}
";
        let graph = ic_ir::text::parse(text).unwrap();
        let options = PartitionOptions { fuse: false, share: false, ..PartitionOptions::default() };
        let mut program = partition(&graph, &options).unwrap();
        watch(&mut program);
        assert_eq!(program.outputs.len(), 3);
        let x = Tensor::from_elements(vec![4], vec![0.5f32, -1.0, 2.0, 0.0]);
        let none = |_| Err(OpError::new("there are no constants"));
        let mut outputs = eval_program(&program, &none, std::slice::from_ref(&x), &Symbols::new()).unwrap();
        // What the second kernel gives is 1 more than it should be.
        let wrong = outputs.iter().position(|tensor| tensor.elements::<f32>().unwrap()[0] < 0.0).unwrap();
        let shifted = outputs[wrong].elements::<f32>().unwrap().iter().map(|x| x + 1.0).collect();
        outputs[wrong] = Tensor::from_elements(vec![4], shifted);
        let memory = program.buffers.iter().map(|buffer| match buffer.kind {
            BufferKind::Input(_) => Some(x.data().clone()),
            BufferKind::Output(i) => Some(outputs[i as usize].data().clone()),
            _ => None,
        });
        let memory = memory.collect();
        let mut errors = Vec::new();
        let n_left = eval_kernels(&program, memory, &Symbols::new(), &mut |evaluated| {
            let expected = evaluated.expected.unwrap();
            errors.push(error(errors.len(), evaluated.kernel, evaluated.location, &evaluated.found, &expected));
        });
        assert_eq!(n_left.unwrap(), 0);
        let found: Vec<(&str, bool)> = errors.iter().map(|e| (e.nodes.as_str(), e.absolute > 0.5)).collect();
        assert_eq!(found, [("first", false), ("second", true), ("third", true)]);
        assert_eq!((errors[1].absolute, errors[1].what.as_str()), (1.0, "pointwise"));
    }
}
