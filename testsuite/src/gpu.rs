//! PTX without a GPU: NVIDIA's assembler takes a module, and its disassembler shows the machine code.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel as the assembler leaves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// Its name.
    pub name: String,
    /// Bytes of registers that were moved to memory.
    pub spilled_bytes: u64,
    /// Products on tensor cores (`HMMA`).
    pub n_hmma: usize,
    /// Scalar products (`FFMA`).
    pub n_ffma: usize,
}

/// NVIDIA's programs.
#[derive(Clone, Debug)]
pub struct Assembler {
    /// `ptxas`.
    pub ptxas: PathBuf,
    /// `nvdisasm`.
    pub nvdisasm: PathBuf,
}

impl Assembler {
    /// Assembles a module for an architecture such as `sm_80`; its kernels in their order. Files go into `folder`.
    ///
    /// # Errors
    /// If the assembler refuses the module: with its message.
    pub fn assemble(&self, text: &str, architecture: &str, folder: &Path) -> Result<Vec<Assembled>> {
        let (ptx, cubin) = (folder.join("module.ptx"), folder.join("module.cubin"));
        std::fs::write(&ptx, text)?;
        let mut command = Command::new(&self.ptxas);
        command.arg(format!("-arch={architecture}")).arg("-v").arg(&ptx).arg("-o").arg(&cubin);
        let output = command.output().with_context(|| self.ptxas.display().to_string())?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "ptxas refuses the module:\n{log}");
        let output = Command::new(&self.nvdisasm).arg("-c").arg(&cubin).output();
        let output = output.with_context(|| self.nvdisasm.display().to_string())?;
        ensure!(output.status.success(), "nvdisasm: {}", String::from_utf8_lossy(&output.stderr));
        kernels(&log, &String::from_utf8_lossy(&output.stdout))
    }
}

/// What the assembler says of each kernel, with what is in its machine code.
fn kernels(log: &str, code: &str) -> Result<Vec<Assembled>> {
    let mut lines = log.lines();
    let mut kernels = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once("Function properties for ") else { continue };
        let name = name.trim();
        let spills = lines.next().with_context(|| format!("`{name}` has no properties"))?;
        let spilled = spills.split(',').filter(|part| part.contains("spill"));
        let bytes = |part: &str| part.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).context("no bytes");
        let spilled_bytes = spilled.map(bytes).sum::<Result<u64>>()?;
        let body = code.split(".text.").find(|part| part.starts_with(&format!("{name}:")));
        let body = body.with_context(|| format!("no machine code of `{name}`"))?;
        let count = |what: &str| body.lines().filter(|line| line.contains(what)).count();
        kernels.push(Assembled { name: name.into(), spilled_bytes, n_hmma: count("HMMA"), n_ffma: count("FFMA") });
    }
    Ok(kernels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_and_instructions_are_read() {
        let log = "ptxas info    : Compiling entry function 'k' for 'sm_80'\nptxas info    : Function properties for k\n    \
                   8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\nptxas info    : Used 40 registers\n";
        let code = ".section .text.k,\"ax\"\n.text.k:\n  HMMA.16816.F32 R4, R8, R12, R4 ;\n  FFMA R1, R2, R3, R1 ;\n";
        let expected = Assembled { name: "k".into(), spilled_bytes: 28, n_hmma: 1, n_ffma: 1 };
        assert_eq!(kernels(log, code).unwrap(), [expected]);
    }
}
