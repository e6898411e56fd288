//! Runs the compiler and tells Cargo what the result depends on.

use crate::installed::{self, Installed};
use crate::{Error, Model, folders, target};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

impl Model {
    /// Compiles the model, so that `ic_runtime::include_model!` finds it.
    ///
    /// # Errors
    /// If the model does not compile, or there is nothing to compile it with.
    pub fn compile(self) -> Result<(), Error> {
        for (_, path) in &self.sources {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let folder = PathBuf::from(variable("OUT_DIR")?);
        let name = self.artifact_name()?;
        let artifact = folder.join(format!("{name}.ica"));
        let dependencies = folder.join(format!("{name}.deps"));
        run(&self.arguments(&folder, &name, &artifact, &dependencies)?)?;
        for file in read(&dependencies)?.lines().filter(|line| !line.is_empty()) {
            println!("cargo::rerun-if-changed={file}");
        }
        if self.beside {
            copy_beside(&artifact, &folder)?;
        }
        Ok(())
    }

    /// The name for files and for `include_model!`.
    fn artifact_name(&self) -> Result<String, Error> {
        let path = self.sources.first().map(|(_, path)| path.clone()).unwrap_or_default();
        let stem = || path.file_stem().and_then(|stem| stem.to_str());
        let refuse = |problem| Error::Path { path: path.clone(), problem };
        let name = self.name.as_deref().or_else(stem).ok_or_else(|| refuse("the name is not Unicode"))?;
        if name.is_empty() || name.contains(['/', '\\', '\n']) {
            return Err(refuse("the name given to the model cannot be a file's"));
        }
        Ok(name.into())
    }

    /// The command line after the program's name.
    fn arguments(
        &self,
        folder: &Path,
        name: &str,
        artifact: &Path,
        dependencies: &Path,
    ) -> Result<Vec<OsString>, Error> {
        let targets = match self.targets.as_slice() {
            [] => target::targets(&variable("TARGET")?, &env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default())?,
            given => given.to_vec(),
        };
        let emit = |kind: &str, path: &Path| {
            let mut text = OsString::from(format!("{kind}="));
            text.push(path);
            text
        };
        let interface = folder.join(format!("{name}.rs"));
        let form = if self.beside { "rust-beside" } else { "rust" };
        let mut arguments: Vec<OsString> = vec!["compile".into()];
        for (entry, path) in &self.sources {
            let mut source = entry.as_ref().map_or_else(OsString::new, |entry| format!("{entry}=").into());
            source.push(path);
            arguments.push(source);
        }
        arguments.extend(["-o".into(), artifact.into()]);
        arguments.extend(["--emit".into(), emit("deps", dependencies), "--emit".into(), emit(form, &interface)]);
        arguments.extend(targets.iter().flat_map(|target| ["--target".into(), target.into()]));
        arguments.extend(self.args.iter().cloned());
        Ok(arguments)
    }
}

/// Runs `ic` with these arguments: the installed one, or this process.
fn run(arguments: &[OsString]) -> Result<(), Error> {
    match installed::find()? {
        Installed::Found(program) => {
            println!("cargo::rerun-if-changed={}", program.display());
            let output = Command::new(&program).args(arguments).output();
            let output = output.map_err(|source| Error::File { action: "run", path: program, source })?;
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            if !output.status.success() {
                let message = if said.is_empty() { format!("ic ended with {}", output.status) } else { said };
                return Err(Error::Compile { message });
            }
            said.lines().for_each(|line| println!("cargo::warning={line}"));
            Ok(())
        }
        Installed::Missing(problem) => in_process(arguments, problem),
    }
}

#[cfg(feature = "compiler")]
fn in_process(arguments: &[OsString], problem: String) -> Result<(), Error> {
    if matches!(env!("IC_BUILD_OPT_LEVEL"), "" | "0" | "1") {
        let profile = if env::var("PROFILE").is_ok_and(|profile| profile == "release") { "release" } else { "dev" };
        println!("cargo::warning={problem}: the model is compiled by an unoptimized build of the compiler");
        println!("cargo::warning=to make that fast, install ic {}, or add to the", env!("CARGO_PKG_VERSION"));
        println!("cargo::warning=workspace's Cargo.toml: [profile.{profile}.build-override]");
        println!("cargo::warning=                        opt-level = 3");
    }
    let command_line: Vec<OsString> = std::iter::once("ic".into()).chain(arguments.iter().cloned()).collect();
    ic::cli::run(&command_line).map_err(|error| Error::Compile { message: format!("{error:#}") })
}

#[cfg(not(feature = "compiler"))]
fn in_process(_: &[OsString], problem: String) -> Result<(), Error> {
    Err(Error::NoCompiler { problem })
}

/// Copies the artifact to the folder in which Cargo leaves programs.
fn copy_beside(artifact: &Path, out: &Path) -> Result<(), Error> {
    let refuse = || Error::Path { path: out.into(), problem: "OUT_DIR is not in a profile's folder `build`" };
    let to = folders::of_programs(out).ok_or_else(refuse)?.join(artifact.file_name().unwrap_or_default());
    // A program that runs keeps the file that it has mapped.
    let partial = to.with_extension("ica.partial");
    let failed = |source| Error::File { action: "write", path: to.clone(), source };
    to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::copy(artifact, &partial).map_err(failed)?;
    fs::rename(&partial, &to).map_err(failed)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { action: "read", path: path.into(), source })
}

fn variable(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|_| Error::Variable(name))
}
