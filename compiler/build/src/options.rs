//! What to compile and how: the options of `ic compile`.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;

/// Which rewrites of floating-point arithmetic may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fp {
    /// Exact ones.
    Strict,
    /// Those that reassociate too.
    Default,
    /// Approximate ones too.
    Fast,
}

/// A model to compile.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `compile`"]
pub struct Model {
    /// Names of entries and the models' files; no name for the only entry, `main`.
    pub(crate) sources: Vec<(Option<String>, PathBuf)>,
    pub(crate) name: Option<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) beside: bool,
    /// Further arguments of `ic compile`.
    pub(crate) args: Vec<OsString>,
}

/// The model in the file `path`, seen from the package's folder.
pub fn model(path: impl Into<PathBuf>) -> Model {
    Model { sources: vec![(None, path.into())], name: None, targets: Vec::new(), beside: false, args: Vec::new() }
}

/// Several models as one called `name`: an entry each, over one weight pool.
///
/// ```no_run
/// # fn main() -> Result<(), ic_build::Error> {
/// ic_build::entries("whisper", [("encoder", "encoder.onnx"), ("decoder", "decoder.onnx")]).compile()
/// # }
/// ```
pub fn entries<'a>(name: &str, models: impl IntoIterator<Item = (&'a str, &'a str)>) -> Model {
    let sources = models.into_iter().map(|(entry, path)| (Some(entry.to_string()), path.into())).collect();
    Model { sources, name: Some(name.into()), targets: Vec::new(), beside: false, args: Vec::new() }
}

impl Model {
    /// The name by which `include_model!` includes the model; the file's name without extension if this is not called.
    pub fn name(mut self, name: &str) -> Model {
        self.name = Some(name.into());
        self
    }

    /// Compiles for `target`, as `ic compile --target` spells it. May be called again, best target first. Without it the
    /// targets follow from Cargo's: `x86-64-v3` and `x86-64-v2` on x86-64, `aarch64` on AArch64.
    pub fn target(mut self, target: &str) -> Model {
        self.targets.push(target.into());
        self
    }

    /// Binds the symbolic dim `name`.
    pub fn dim(self, name: &str, value: impl Display) -> Model {
        self.option("--dim", format!("{name}={value}"))
    }

    /// Computes these values only.
    pub fn outputs(self, names: &[&str]) -> Model {
        self.option("--outputs", names.join(","))
    }

    /// How far to optimize, from 0 to 3; 2 if this is not called.
    pub fn opt_level(self, level: u8) -> Model {
        self.option("--opt-level", level.to_string())
    }

    /// Which rewrites of floating-point arithmetic may run.
    pub fn fp(self, fp: Fp) -> Model {
        let name = match fp {
            Fp::Strict => "strict",
            Fp::Default => "default",
            Fp::Fast => "fast",
        };
        self.option("--fp", name)
    }

    /// Any other option of `ic compile` that takes a value: `.option("--precision", "bf16")`.
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Model {
        self.args.push(name.into());
        self.args.push(value.into());
        self
    }

    /// Leaves the artifact beside the program rather than in it: Cargo's profile folder gets the file `<name>.ica`, which
    /// is to be shipped with the program. Loading maps it and checks that it is the one that the program was built with.
    pub fn beside_binary(mut self) -> Model {
        self.beside = true;
        self
    }
}
