//! The vendor's compiler and MLIR 22, where they are installed.

use super::Params;
use ic_codegen::AscendTarget;
use ic_codegen::ascend::{AscendKernel, Spelling};
use ic_ir::kernel::Kernel;
use ic_types::{Data, Tensor};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of programs.
pub(crate) struct Tools {
    bishengir: PathBuf,
    llvm: PathBuf,
    work: tempfile::TempDir,
}

/// What became of a kernel in the vendor's compiler.
pub(crate) enum Verdict {
    /// It got as far as the closed last stage; the text of the kernel there.
    Compiled(String),
    /// The step that failed, and what it said.
    Refused(&'static str, String),
}

impl Tools {
    /// The tools in the folders `IC_BISHENGIR` and `IC_LLVM`; says so where they are not.
    pub(crate) fn find() -> Option<Tools> {
        let bishengir = std::env::var_os("IC_BISHENGIR").map(PathBuf::from);
        let llvm = std::env::var_os("IC_LLVM").map_or_else(|| "/usr/lib/llvm-22/bin".into(), PathBuf::from);
        let bishengir = bishengir.filter(|folder| folder.join("bishengir-compile").exists());
        let (Some(bishengir), true) = (bishengir, llvm.join("mlir-translate").exists()) else {
            report("skipped: needs the vendor's compiler and MLIR 22; testsuite/ascend/run.sh fetches them");
            return None;
        };
        Some(Tools { bishengir, llvm, work: tempfile::tempdir().unwrap() })
    }

    /// Compiles a kernel for a device.
    pub(crate) fn compile(&self, name: &str, kernel: &AscendKernel, source: &Kernel, target: AscendTarget) -> Verdict {
        let folder = self.work.path().join(format!("{name}.npu"));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("kernel.mlir");
        std::fs::write(&file, kernel.text(source, "kernel", Spelling::Vendor)).unwrap();
        let verifier = Command::new(self.bishengir.join("bishengir-opt")).arg(&file).output().unwrap();
        if !verifier.status.success() {
            return Verdict::Refused("verifier", String::from_utf8_lossy(&verifier.stderr).into());
        }
        let mut command = Command::new(self.bishengir.join("bishengir-compile"));
        command.arg(&file).args(kernel.compiler_options(target));
        command.arg(format!("--save-temps={}", folder.display())).arg("-o").arg(folder.join("kernel.o"));
        let output = command.output().unwrap();
        let log: String = String::from_utf8_lossy(&output.stderr).lines().take(12).collect::<Vec<_>>().join("\n");
        match std::fs::read_to_string(folder.join("module.hivm.opt.mlir")) {
            Ok(text) => Verdict::Compiled(text),
            Err(_) => Verdict::Refused("compiler", format!("{log}\n{}", std::fs::read_to_string(&file).unwrap())),
        }
    }

    /// Runs the text of a kernel on this CPU.
    pub(crate) fn run(&self, name: &str, kernel: &AscendKernel, source: &Kernel, spelling: Spelling, params: Params) {
        let folder = self.work.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let file = |extension: &str| folder.join("kernel").with_extension(extension);
        std::fs::write(file("mlir"), kernel.text(source, "kernel", spelling)).unwrap();
        let lower = match spelling {
            Spelling::Vendor => self.bishengir.join("bishengir-opt"),
            Spelling::Upstream => self.llvm.join("mlir-opt"),
        };
        let passes = match spelling {
            Spelling::Vendor => VENDOR_PASSES,
            Spelling::Upstream => UPSTREAM_PASSES,
        };
        command(Command::new(lower).arg(file("mlir")).args(passes).arg("-o").arg(file("llvm.mlir")));
        let text = std::fs::read_to_string(file("llvm.mlir")).unwrap();
        std::fs::write(file("llvm.mlir"), without_memory_effects(&text)).unwrap();
        let translate = ["--mlir-to-llvmir", "--allow-unregistered-dialect"];
        let mut translator = Command::new(self.llvm.join("mlir-translate"));
        command(translator.args(translate).arg(file("llvm.mlir")).arg("-o").arg(file("ll")));
        let mut llc = Command::new(self.llvm.join("llc"));
        command(llc.args(["-O1", "-filetype=obj", "-relocation-model=pic"]).arg(file("ll")).arg("-o").arg(file("o")));
        std::fs::write(file("c"), driver(kernel, spelling, params)).unwrap();
        command(Command::new("cc").args(["-O1"]).arg(file("c")).arg(file("o")).arg("-lm").arg("-o").arg(file("exe")));
        let bytes: Vec<u8> = params.iter().flat_map(|param| param.data().to_le_bytes()).collect();
        std::fs::write(file("in"), bytes).unwrap();
        command(Command::new(file("exe")).arg(file("in")).arg(file("out")));
        let bytes = std::fs::read(file("out")).unwrap();
        let mut first = 0;
        for param in params.iter_mut() {
            let size = param.data().to_le_bytes().len();
            let data = Data::from_le_bytes(param.dtype(), &bytes[first..first + size]).unwrap();
            *param = Tensor::new(vec![data.len()], data);
            first += size;
        }
    }
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

/// Prints although the test passes.
fn report(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn command(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let log = || String::from_utf8_lossy(&output.stderr).chars().take(4000).collect::<String>();
    assert!(output.status.success(), "{command:?}:\n{}\n{}", log(), source(command));
}

/// The kernel's text, for a message.
fn source(command: &Command) -> String {
    let file = command.get_args().map(Path::new).find(|path| path.extension().is_some_and(|e| e == "mlir"));
    file.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
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

/// What MLIR's lowering of strided copies calls.
const MEMREF_COPY: &str = r#"#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *allocated, *aligned; int64_t offset, extents_and_strides[]; } Memref;
typedef struct { int64_t rank; Memref *memref; } Unranked;

void memrefCopy(int64_t size, Unranked *from, Unranked *to) {
  int64_t rank = from->rank, n = 1, *extents = from->memref->extents_and_strides;
  for (int64_t i = 0; i < rank; i++) n *= extents[i];
  for (int64_t at = 0; at < n; at++) {
    int64_t rest = at, source = from->memref->offset, target = to->memref->offset;
    for (int64_t i = rank - 1; i >= 0; i--) {
      source += rest % extents[i] * extents[rank + i];
      target += rest % extents[i] * to->memref->extents_and_strides[rank + i];
      rest /= extents[i];
    }
    memcpy(to->memref->aligned + target * size, from->memref->aligned + source * size, size);
  }
}
"#;

/// A C program that reads the parameters, calls the kernel for every block, and writes the parameters.
fn driver(kernel: &AscendKernel, spelling: Spelling, params: &[Tensor]) -> String {
    let mut text = format!("{MEMREF_COPY}extern void kernel();\n");
    text += "int main(int n, char **args) {\n  FILE *in = fopen(args[1], \"rb\"), *out = fopen(args[2], \"wb\");\n";
    for (i, param) in params.iter().enumerate() {
        let bytes = param.data().to_le_bytes().len();
        let _ = writeln!(text, "  char *p{i} = malloc({bytes} + 64);");
        let _ = writeln!(text, "  if (fread(p{i}, 1, {bytes}, in) != {bytes}) return 1;");
    }
    let shapes: Vec<Vec<usize>> = match kernel {
        AscendKernel::Vector(vector) => {
            let results = vector.function.results.iter().map(|&id| vector.function.ty(id));
            vector.function.arguments.iter().chain(results).map(|ty| ty.shape.clone()).collect()
        }
        AscendKernel::Cube(cube) => cube.params().iter().map(|&p| vec![params[p as usize].len()]).collect(),
    };
    let memory =
        kernel.arguments().into_iter().zip(&shapes).map(|(param, shape)| descriptor(&format!("p{param}"), shape));
    let mut memory: Vec<String> = memory.collect();
    match kernel {
        AscendKernel::Vector(_) => {
            let _ = writeln!(text, "  kernel({});", memory.join(", "));
        }
        AscendKernel::Cube(cube) => {
            if spelling == Spelling::Vendor && cube.is_mixed() {
                let nothing = descriptor("(char *)0", &[0]);
                memory.splice(0..0, [nothing.clone(), nothing]);
            }
            let [x, y, z] = cube.grid();
            let _ = writeln!(
                text,
                "  for (int32_t z = 0; z < {z}; z++) for (int32_t y = 0; y < {y}; y++) for (int32_t x = 0; x < {x}; x++)\n    \
                 kernel({}, {x}, {y}, {z}, x, y, z);",
                memory.join(", ")
            );
        }
    }
    for (i, param) in params.iter().enumerate() {
        let _ = writeln!(text, "  fwrite(p{i}, 1, {}, out);", param.data().to_le_bytes().len());
    }
    text + "  return fclose(out);\n}\n"
}

/// The arguments that stand for a dense tensor.
fn descriptor(pointer: &str, shape: &[usize]) -> String {
    let mut text = format!("{pointer}, {pointer}, (int64_t)0");
    for extent in shape {
        let _ = write!(text, ", (int64_t){extent}");
    }
    for axis in 0..shape.len() {
        let _ = write!(text, ", (int64_t){}", shape[axis + 1..].iter().product::<usize>());
    }
    text
}
