//! The options that decide about kernels as arguments of `ic compile`, in one order: what the certificate holds.

use super::Options;
use crate::quantize::Method;
use ic_codegen::Products;
use ic_passes::{FpMode, IntegerWeights, Precision};

/// The arguments that are not at their defaults.
pub(super) fn flags(options: &Options) -> Vec<String> {
    let mut flags = Vec::new();
    let mut add = |flag: &str, value: String| flags.extend([flag.to_string(), value]);
    let import = &options.import;
    import.dims.iter().for_each(|(name, value)| add("--dim", format!("{name}={value}")));
    import.ranges.iter().for_each(|(name, range)| add("--dim", format!("{name}={}..{}", range.min, range.max)));
    import.outputs.iter().for_each(|names| add("--outputs", names.join(",")));
    options.states.iter().for_each(|pair| add("--state", format!("{}={}", pair.input, pair.output)));
    options.hoist.iter().for_each(|input| add("--hoist", input.clone()));
    if options.passes.opt_level != ic_passes::Options::default().opt_level {
        add("--opt-level", options.passes.opt_level.to_string());
    }
    match options.passes.fp {
        FpMode::Strict => add("--fp", "strict".into()),
        FpMode::Default => {}
        FpMode::Fast => add("--fp", "fast".into()),
    }
    match (options.products, options.passes.precision) {
        (Products::Tf32, _) => add("--precision", "tf32".into()),
        (_, Precision::F16) => add("--precision", "f16".into()),
        (_, Precision::BF16) => add("--precision", "bf16".into()),
        (_, Precision::F32) => {}
    }
    match (options.passes.integer_weights, &options.calibration) {
        (Some(IntegerWeights::I8), _) => add("--quantize", "w8".into()),
        (Some(IntegerWeights::I4), _) => add("--quantize", "w4".into()),
        (None, Some(_)) => add("--quantize", "w8a8".into()),
        (None, None) => {}
    }
    if let Some(calibration) = &options.calibration {
        let method = match calibration.method {
            Method::MinMax => "minmax",
            Method::Percentile => "percentile",
            Method::Mse => "mse",
        };
        add("--calibration-method", method.into());
        add("--smoothing", calibration.smoothing.to_string());
        add("--accuracy-budget", calibration.budget.to_string());
    }
    flags
}
