//! The vendor's compiler and MLIR 22, where they are installed.

use super::driver::{Call, driver, touched};
use anyhow::{Context, Result, ensure};
use ic_codegen::ascend::Spelling;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of programs, and one for their files.
pub struct Tools {
    bishengir: PathBuf,
    llvm: PathBuf,
    work: tempfile::TempDir,
}

/// What became of a kernel in the vendor's compiler.
pub enum Verdict {
    /// It got as far as the closed last stage; the text of the kernel there.
    Compiled(String),
    /// The step that failed, and what it said.
    Refused(&'static str, String),
}

impl Tools {
    /// The tools in the folders `IC_BISHENGIR` and `IC_LLVM`, if they are there.
    ///
    /// # Errors
    /// If there is no folder for their files.
    pub fn find() -> Result<Option<Tools>> {
        let bishengir = std::env::var_os("IC_BISHENGIR").map(PathBuf::from);
        let llvm = std::env::var_os("IC_LLVM").map_or_else(|| "/usr/lib/llvm-22/bin".into(), PathBuf::from);
        let bishengir = bishengir.filter(|folder| folder.join("bishengir-compile").exists());
        let is_whole = ["mlir-translate", "mlir-opt", "llc"].iter().all(|tool| llvm.join(tool).exists());
        match bishengir.filter(|_| is_whole) {
            Some(bishengir) => Ok(Some(Tools { bishengir, llvm, work: tempfile::tempdir()? })),
            None => Ok(None),
        }
    }

    /// Compiles the text of a kernel, in the vendor's spelling, with the options of its target.
    ///
    /// # Errors
    /// If a program cannot be run or a file not be written.
    pub fn compile(&self, name: &str, text: &str, options: &[String]) -> Result<Verdict> {
        let folder = self.folder(&format!("{name}.npu"))?;
        let file = folder.join("kernel.mlir");
        std::fs::write(&file, text)?;
        let verifier = Command::new(self.bishengir.join("bishengir-opt")).arg(&file).output()?;
        if !verifier.status.success() {
            return Ok(Verdict::Refused("verifier", String::from_utf8_lossy(&verifier.stderr).into()));
        }
        let mut command = Command::new(self.bishengir.join("bishengir-compile"));
        command.arg(&file).args(options);
        command.arg(format!("--save-temps={}", folder.display())).arg("-o").arg(folder.join("kernel.o"));
        let output = command.output()?;
        let log: String = String::from_utf8_lossy(&output.stderr).lines().take(12).collect::<Vec<_>>().join("\n");
        Ok(match std::fs::read_to_string(folder.join("module.hivm.opt.mlir")) {
            Ok(text) => Verdict::Compiled(text),
            Err(_) => Verdict::Refused("compiler", format!("{log}\n{text}")),
        })
    }

    /// Runs a launch of a kernel on this CPU.
    ///
    /// # Errors
    /// If the text is not taken, or the call does not fit it: with the text.
    pub fn run(&self, call: &Call, spelling: Spelling, memory: &mut [Vec<u8>]) -> Result<()> {
        let folder = self.folder(call.name)?;
        let program = self.build(call, spelling, &folder, memory);
        let program = program.with_context(|| format!("kernel `{}`:\n{}", call.name, call.text))?;
        let (input, output) = (folder.join("in"), folder.join("out"));
        let touched = touched(call);
        let bytes: Vec<u8> = touched.iter().flat_map(|&id| memory[id].iter().copied()).collect();
        std::fs::write(&input, bytes)?;
        run(&program, &[input.into(), output.clone().into()])?;
        let bytes = std::fs::read(&output)?;
        let mut rest = bytes.as_slice();
        for id in touched {
            let (own, others) = rest.split_at_checked(memory[id].len()).context("the kernel wrote too little")?;
            memory[id].copy_from_slice(own);
            rest = others;
        }
        Ok(())
    }

    /// The program that makes a call.
    fn build(&self, call: &Call, spelling: Spelling, folder: &Path, memory: &[Vec<u8>]) -> Result<PathBuf> {
        let file = |extension: &str| folder.join("kernel").with_extension(extension);
        let arg = |extension: &str| -> OsString { file(extension).into() };
        std::fs::write(file("mlir"), call.text)?;
        let (lower, passes) = match spelling {
            Spelling::Vendor => (self.bishengir.join("bishengir-opt"), VENDOR_PASSES),
            Spelling::Upstream => (self.llvm.join("mlir-opt"), UPSTREAM_PASSES),
        };
        let passes = passes.iter().map(OsString::from).collect::<Vec<_>>();
        run(&lower, &[vec![arg("mlir"), "-o".into(), arg("llvm.mlir")], passes].concat())?;
        let text = std::fs::read_to_string(file("llvm.mlir"))?;
        std::fs::write(file("llvm.mlir"), without_memory_effects(&text))?;
        let translate = ["--mlir-to-llvmir", "--allow-unregistered-dialect", "-o"].map(OsString::from).to_vec();
        run(&self.llvm.join("mlir-translate"), &[translate, vec![arg("ll"), arg("llvm.mlir")]].concat())?;
        let compile = ["-O1", "-filetype=obj", "-relocation-model=pic", "-o"].map(OsString::from).to_vec();
        run(&self.llvm.join("llc"), &[compile, vec![arg("o"), arg("ll")]].concat())?;
        std::fs::write(file("c"), driver(call, memory)?)?;
        let link = vec!["-O1".into(), arg("c"), arg("o"), "-lm".into(), "-o".into(), arg("exe")];
        run(Path::new("cc"), &link)?;
        Ok(file("exe"))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn run(program: &Path, args: &[OsString]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| program.display().to_string())?;
    let log = || String::from_utf8_lossy(&output.stderr).chars().take(4000).collect::<String>();
    ensure!(output.status.success(), "{} {args:?}:\n{}", program.display(), log());
    Ok(())
}

/// The text without attributes whose syntax differs between the vendor's MLIR and MLIR 22.
fn without_memory_effects(text: &str) -> String {
    let line = |line: &str| match line.split_once("memory = #llvm.memory_effects<") {
        Some((before, after)) => {
            let after = after.split_once('>').map_or("", |(_, after)| after.strip_prefix(", ").unwrap_or(after));
            format!("{before}{after}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

const VENDOR_PASSES: &[&str] = &[
    "--linalg-generalize-named-ops",
    "--one-shot-bufferize=bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map",
    "--buffer-results-to-out-params",
    "--convert-linalg-to-loops",
    "--convert-scf-to-cf",
    "--expand-strided-metadata",
    "--lower-affine",
    "--convert-math-to-llvm",
    "--convert-math-to-libm",
    "--convert-arith-to-llvm",
    "--convert-index-to-llvm",
    "--finalize-memref-to-llvm",
    "--convert-func-to-llvm",
    "--convert-cf-to-llvm",
    "--reconcile-unrealized-casts",
];

const UPSTREAM_PASSES: &[&str] = &[
    "--one-shot-bufferize=bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map",
    "--buffer-results-to-out-params=modify-public-functions=true",
    "--convert-linalg-to-loops",
    "--convert-scf-to-cf",
    "--expand-strided-metadata",
    "--lower-affine",
    "--convert-math-to-libm",
    "--convert-math-to-llvm",
    "--convert-arith-to-llvm",
    "--convert-index-to-llvm",
    "--finalize-memref-to-llvm",
    "--convert-func-to-llvm",
    "--convert-cf-to-llvm",
    "--reconcile-unrealized-casts",
];
