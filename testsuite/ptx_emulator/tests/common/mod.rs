//! Kernels from bodies of PTX, and launches of them.
#![allow(dead_code, clippy::allow_attributes, reason = "not every test uses all of it")]

use ic_ptx_emulator::{Counts, Fault, Launch, Memory, Module, launch};

/// A module with the kernel `k` of these parameters and this body, which begins with declarations.
pub(crate) fn module(params: &[&str], body: &str) -> String {
    let params: Vec<String> = params.iter().enumerate().map(|(i, ty)| format!(".param .{ty} k_p{i}")).collect();
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k({})\n{{\n{body}\nret;\n}}\n",
        params.join(", ")
    )
}

/// Runs the kernel on buffers, whose addresses are its parameters; the buffers afterwards.
pub(crate) fn run(text: &str, grid: u32, block: u32, buffers: &[Vec<u8>]) -> Result<(Counts, Vec<Vec<u8>>), Fault> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let function = module.function("k").unwrap();
    let mut memory = Memory::new();
    let addresses: Vec<u64> = buffers
        .iter()
        .map(|bytes| {
            let address = memory.allocate(bytes.len() as u64).unwrap();
            memory.write(address, bytes).unwrap();
            address
        })
        .collect();
    let params = function.pack(&addresses).unwrap();
    let counts = launch(
        function,
        &memory,
        &Launch { grid: [grid, 1, 1], block: [block, 1, 1], params, dynamic_shared: 0, host_threads: 2 },
    )?;
    let contents = buffers.iter().zip(&addresses).map(|(bytes, &address)| {
        let mut contents = vec![0; bytes.len()];
        memory.read(address, &mut contents).unwrap();
        contents
    });
    Ok((counts, contents.collect()))
}

/// The fault of a kernel that must have one.
pub(crate) fn fault(text: &str, block: u32, buffers: &[Vec<u8>]) -> Fault {
    run(text, 1, block, buffers).err().unwrap_or_else(|| panic!("no fault in\n{text}"))
}

pub(crate) fn bytes_of<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to_bytes(value)).collect()
}

pub(crate) fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    u32s(bytes).into_iter().map(f32::from_bits).collect()
}

/// Pseudo-random numbers that are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}
