//! C programs against the static and the shared library: the example, and one that makes every mistake. Under valgrind
//! where that is installed. Skipped, with a message, without a C compiler.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]
#![cfg(target_os = "linux")]

use ic::pipeline::{self, Options, Source};
use ic_codegen::Target;
use ic_codegen::cpu::CpuTarget;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

// Its C libraries are built with it.
use ic_capi as _;

const GRAPH: &str = "graph @scale(%x: f32[N, 4]) {
  %0 = constant() {value = f32[] [2.0]} : f32[]
  %1 = mul(%x, %0) : f32[N, 4] @\"scale\"
  return \"y\" = %1
}
";

/// An artifact of [`GRAPH`]. Valgrind knows no AVX-512, which x86-64-v4 would use.
fn artifact(folder: &Path) -> PathBuf {
    let (model, artifact) = (folder.join("scale.ic"), folder.join("scale.ica"));
    std::fs::write(&model, GRAPH).unwrap();
    let targets =
        CpuTarget::ALL.iter().copied().filter(|&target| target != CpuTarget::X86V4).map(Target::Cpu).collect();
    let options = Options { targets, ..Options::default() };
    let lowered = pipeline::lower(&[Source::main(&model)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    pipeline::write(&lowered, &artifact, &options, &mut |_| {}).unwrap();
    artifact
}

/// The C compiler, if there is one.
fn compiler() -> Option<String> {
    let named = std::env::var("CC").ok();
    let mut names = named.into_iter().chain(["cc", "gcc", "clang"].map(String::from));
    names.find(|name| Command::new(name).arg("--version").output().is_ok_and(|done| done.status.success()))
}

/// The folder with the libraries: that of this test.
fn libraries() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    for file in ["libic_capi.so", "libic_capi.a"] {
        assert!(folder.join(file).is_file(), "{file} is not in {}", folder.display());
    }
    folder
}

/// Builds `source` with the flags.
fn build(compiler: &str, source: &Path, program: &Path, flags: &[&str]) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/capi/include");
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-I"]);
    let done = command.arg(include).arg(source).arg("-o").arg(program).args(flags).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn succeed(done: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{}\n{out}{err}", done.status);
    out.into_owned()
}

/// Runs the program alone, and under valgrind if that is there.
fn run(program: &Path, artifact: &Path) -> String {
    let shown = succeed(Command::new(program).arg(artifact).arg("2").output().unwrap());
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,possible"]);
    match valgrind.arg(program).arg(artifact).arg("2").env("IC_KERNELS", "avx2").output() {
        Ok(done) => drop(succeed(done)),
        Err(error) => eprintln!("not run under valgrind: {error}"),
    }
    shown
}

#[test]
fn c_programs_run() {
    let Some(compiler) = compiler() else {
        eprintln!("skipped: there is no C compiler");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (artifact, libraries) = (artifact(folder.path()), libraries());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (example, check) = (root.join("../runtime/capi/examples/run.c"), root.join("c_abi/check.c"));

    let program = folder.path().join("run");
    let archive = libraries.join("libic_capi.a");
    build(&compiler, &example, &program, &[archive.to_str().unwrap(), "-lm", "-lpthread", "-ldl", "-lgcc_s"]);
    let shown = run(&program, &artifact);
    assert!(shown.ends_with("y: dtype 1 [2, 4] 0 2 4 6 8 10 12 14\n"), "{shown}");

    let program = folder.path().join("check");
    let search = format!("-L{}", libraries.display());
    let rpath = format!("-Wl,-rpath,{}", libraries.display());
    build(&compiler, &check, &program, &[&search, &rpath, "-lic_capi", "-lpthread"]);
    assert_eq!(run(&program, &artifact), "ok\n");
}
