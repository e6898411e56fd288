//! The command line, as clap reads it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Ahead-of-time inference compiler: ONNX in, one artifact out.
#[derive(Parser, Debug)]
#[command(name = "ic", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Compile a model to an artifact
    Compile(CompileArgs),
    /// Run an artifact
    Run(RunArgs),
    /// Measure an artifact's latency and memory
    Bench(BenchArgs),
    /// Compare an artifact with the reference evaluation of its model
    Verify(VerifyArgs),
    /// Show what is in a model or an artifact
    Inspect(InspectArgs),
    /// Sign an artifact with an Ed25519 key
    Sign(SignArgs),
    /// Run passes over a graph in text form and print the result
    Opt(OptArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page in roff
    #[command(hide = true)]
    Man,
}

#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// The model: FILE.onnx, FILE.ic, a Hugging Face folder or its config.json; several NAME=MODEL give an entry each
    #[arg(required = true, value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    /// The artifact to write [default: the model's name with .ica]
    #[arg(short, long, value_name = "OUT.ica")]
    pub(crate) output: Option<PathBuf>,
    /// A target: cpu (this host), x86-64-v2|v3|v4, aarch64, nvptx:sm_80|sm_89|sm_90a|sm_100a or
    /// ascend:910b|310p; repeat for several
    #[arg(long = "target", value_name = "T")]
    pub(crate) targets: Vec<String>,
    /// Bind a symbolic dim, or state its range: NAME=N or NAME=LO..HI
    #[arg(long = "dim", value_name = "NAME=N|LO..HI")]
    pub(crate) dims: Vec<String>,
    /// Compute these values only, by name
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) outputs: Vec<String>,
    /// Keep an output for the next run's input in a state buffer, updated in place: IN=OUT, as in past_*=present_*
    #[arg(long = "state", value_name = "IN=OUT")]
    pub(crate) states: Vec<String>,
    /// Compute what depends on this input alone in an entry of its own, ENTRY.INPUT, which runs once
    #[arg(long, value_name = "INPUT")]
    pub(crate) hoist: Vec<String>,
    /// 0: no rewrites and no fusion; 3: everything
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3), value_name = "0..3")]
    pub(crate) opt_level: u8,
    /// Which classes of rewrites may run
    #[arg(long, value_enum, default_value_t = Fp::Default)]
    pub(crate) fp: Fp,
    /// What the factors of contractions are rounded to; sums stay f32. CPUs round weights and embeddings alone
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub(crate) precision: Precision,
    /// Store the weights of matrix products as integers with scales, and compute in f32; or compute on integers, with ranges
    /// measured on `--calibration`. Embeddings, norms and the head stay floats. CPUs, and weights with 16-bit floats on
    /// NVIDIA GPUs
    #[arg(long, value_enum, value_name = "SCHEME")]
    pub(crate) quantize: Option<Quantize>,
    /// Samples, for w8a8 and, if there are any, w4: for each input an array of its name, which is one sample, or has one more axis in front, of
    /// samples; repeat for samples of other shapes
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) calibration: Vec<PathBuf>,
    /// How the range of an activation follows from what is measured
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = CalibrationMethod::Minmax)]
    pub(crate) calibration_method: CalibrationMethod,
    /// How far scales of channels move from normalized activations to weights (SmoothQuant): 0 is not at all
    #[arg(long, value_name = "0..1", default_value_t = 0.5)]
    pub(crate) smoothing: f32,
    /// Largest loss, as 1 less the cosine similarity to f32 on the calibration samples: layers return to f32, or from 4 bits
    /// to 8, those that lose most for what they cost first, until the model is within it [default: 0.005; w4: 0.015]
    #[arg(long, value_name = "LOSS")]
    pub(crate) accuracy_budget: Option<f64>,
    /// Print an intermediate form: graph, kernels, asm, ptx, ascend, dot, report, deps (the model's files) or rust (the
    /// artifact's typed interface); KIND=PATH writes a file
    #[arg(long = "emit", value_name = "KIND[=PATH]")]
    pub(crate) emit: Vec<String>,
    /// Print the graph after this pass; repeat for several
    #[arg(long = "print-after", value_name = "PASS")]
    pub(crate) print_after: Vec<String>,
    /// Print, for each kernel, the chain of rewrite rules that led to it from the model's nodes
    #[arg(long)]
    pub(crate) explain: bool,
    /// Measure what each kernel gets wrong on seeded random inputs, and keep it in the artifact's certificate; takes as long
    /// as evaluating the model by the reference evaluator
    #[arg(long)]
    pub(crate) certify: bool,
    /// Print one JSON object instead of a sentence at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// Classes of floating-point rewrites.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Fp {
    /// Exact rewrites only, and results with the same bits on every CPU
    Strict,
    /// Rewrites that reassociate too
    Default,
    /// Approximate rewrites too
    Fast,
}

/// Types of factors of contractions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Precision {
    /// As the model has them
    F32,
    /// f32 with 10 bits of fraction, on NVIDIA's tensor cores; weights are stored in f32
    Tf32,
    /// Rounded to IEEE binary16
    F16,
    /// Rounded to bfloat16
    Bf16,
}

/// Schemes of quantization.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Quantize {
    /// 8-bit weights, a scale for each output
    W8,
    /// 4-bit weights, a scale for each 128 inputs of an output
    W4,
    /// 8-bit weights and activations, calibrated
    W8a8,
}

/// Ways from what is measured of an activation to its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CalibrationMethod {
    /// From the least to the greatest element
    Minmax,
    /// Without the 0.01% of the elements that are farthest out
    Percentile,
    /// With the least mean square error
    Mse,
}

#[derive(Args, Debug)]
pub(crate) struct FeedArgs {
    /// Inputs: a folder of input_<i>.pb, or a .npz of arrays by name [default: seeded random]
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub(crate) inputs: Option<PathBuf>,
    /// Bind a symbolic dim of random inputs: NAME=N
    #[arg(long = "dim", value_name = "NAME=N")]
    pub(crate) dims: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SessionArgs {
    /// The artifact
    pub(crate) artifact: PathBuf,
    /// The entry to run [default: `main`, or the only one]
    #[arg(long)]
    pub(crate) entry: Option<String>,
    /// Number of threads [default: one per core]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Kernels to use instead of the best for this CPU: portable, avx2, avx512, amx or neon
    #[arg(long)]
    pub(crate) kernels: Option<String>,
    /// The artifact's target to use instead of the best for the device
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Where to run: cpu, cuda, cuda:N, emulated-cuda or ascend [default: cpu]
    #[arg(long)]
    pub(crate) device: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    /// Where outputs go: a folder for output_<i>.pb, or a .npz [default: a summary on standard output]
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub(crate) outputs: Option<PathBuf>,
    /// Name the classes of a score vector after the lines of this file, best first
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Print the time of each step
    #[arg(long)]
    pub(crate) profile: bool,
    /// Print one JSON object instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    /// Runs before measuring
    #[arg(long, default_value_t = 5)]
    pub(crate) warmup: usize,
    /// Runs to measure [default: about two seconds' worth, at least 10]
    #[arg(long)]
    pub(crate) runs: Option<usize>,
    /// Also print the time of each step, over as many runs more, what it does, and how near that comes to the limits of this
    /// CPU, which are measured too
    #[arg(long)]
    pub(crate) profile: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The model, FILE or ENTRY=FILE; or FILE.npz of outputs by name, which are compared instead
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    /// Largest error, as a share of each output's largest magnitude
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) tolerance: f64,
    /// Also compile the model as the artifact was, and compare each kernel with its reference evaluation on the inputs that
    /// reach it
    #[arg(long)]
    pub(crate) per_kernel: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A model or an artifact
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The artifact
    pub(crate) artifact: PathBuf,
    /// The private key in PEM, as `openssl genpkey -algorithm ed25519` writes it
    #[arg(long, value_name = "FILE.pem")]
    pub(crate) key: PathBuf,
    /// The signed artifact to write [default: the artifact itself]
    #[arg(short, long, value_name = "OUT.ica")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct OptArgs {
    /// A graph in text form
    pub(crate) file: PathBuf,
    /// The passes to run, in order
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) passes: Vec<String>,
}
