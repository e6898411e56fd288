//! Runs generated code on this machine. Unsafe because it is machine code.
#![expect(unsafe_code, reason = "generated code is called through a pointer")]

use super::interpret::{Symbols, interpret, value};
use crate::cpu::generate::Functions;
use crate::cpu::plan::{Generator, Tiling};
use crate::cpu::target::CpuTarget;
use crate::shared::dims::DimBuilder;
use ic_ir::kernel::Kernel;
use ic_kernels::abi::{GeneratedFn, Tile};
use ic_kernels::isa::Isa;
use ic_types::{Data, Tensor};

/// How results may differ from the interpreter's.
#[derive(Clone, Copy)]
pub(super) enum Match {
    /// Equal, except that zeros may differ in sign and NaN in its bits.
    Exact,
    /// Relatively or absolutely.
    Within(f64),
}

/// The host's targets whose code differs.
fn host_targets() -> Vec<CpuTarget> {
    match CpuTarget::host() {
        Some(CpuTarget::X86V2) => vec![CpuTarget::X86V2],
        Some(CpuTarget::X86V3 | CpuTarget::X86V4) => vec![CpuTarget::X86V2, CpuTarget::X86V3],
        Some(CpuTarget::Aarch64) => vec![CpuTarget::Aarch64],
        None => vec![],
    }
}

/// Compiles `kernel` for this host and others, runs it on `buffers`, whole and in tiles, and compares each output with
/// the interpreter's.
pub(super) fn check(kernel: &Kernel, symbols: &[(&str, i64)], buffers: &[Tensor], tolerance: Match) {
    check_tiled(kernel, Tiling::Free, symbols, buffers, tolerance);
}

pub(super) fn check_tiled(
    kernel: &Kernel,
    tiling: Tiling,
    symbols: &[(&str, i64)],
    buffers: &[Tensor],
    tolerance: Match,
) {
    let symbols: Symbols = symbols.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    for (param, buffer) in kernel.params.iter().zip(buffers) {
        let shape: Vec<usize> = param.shape.iter().map(|dim| value(dim, &symbols) as usize).collect();
        assert_eq!((param.dtype, shape.as_slice()), (buffer.dtype(), buffer.shape()), "buffers fit their parameters");
    }
    let mut expected = buffers.to_vec();
    interpret(kernel, &symbols, &mut expected);
    let mut targets = host_targets();
    targets.push(CpuTarget::Aarch64);
    let mut functions = Functions::new(&targets).unwrap();
    let mut dims = DimBuilder::default();
    symbols.keys().enumerate().for_each(|(i, name)| dims.bind(&name.as_str().into(), i as u32));
    let generated = functions.generate(kernel, tiling, &mut dims).unwrap();
    let slots = evaluate(dims, &symbols);
    let outer = generated.outer.map(|slot| slots[slot as usize]);
    let scratch_bytes = slots[generated.scratch_bytes as usize] as usize;
    assert!(slots[generated.cost_ns as usize] >= 0);
    for (target, section) in functions.into_sections() {
        if !host_targets().contains(&target) {
            continue;
        }
        let mut memory = memmap2::MmapMut::map_anon(section.code.len()).unwrap();
        memory.copy_from_slice(&section.code);
        let memory = memory.make_exec().unwrap();
        let address = &memory[section.offsets[0] as usize] as *const u8;
        // SAFETY: the function has been generated with this signature.
        let function = unsafe { std::mem::transmute::<*const u8, GeneratedFn>(address) };
        for tiles in [whole(outer), quarters(outer)] {
            let found = run(function, buffers, &slots, &tiles, scratch_bytes);
            for (index, param) in kernel.params.iter().enumerate() {
                let what = format!("parameter {index} on {} with symbols {symbols:?}", target.name());
                let tolerance = if param.is_output { tolerance } else { Match::Exact };
                compare(&found[index], &expected[index], tolerance, &what);
            }
        }
    }
}

/// The dim slots for these values of symbols.
pub(super) fn evaluate(dims: DimBuilder, symbols: &Symbols) -> Vec<i64> {
    let values: Vec<i64> = symbols.values().copied().collect();
    let mut slots: Vec<i64> = Vec::new();
    for op in dims.finish() {
        let slot = op.apply(&|slot| slots.get(slot as usize).copied(), &|symbol| values.get(symbol as usize).copied());
        slots.push(slot.unwrap());
    }
    slots
}

type Tiles = Vec<([i64; 2], [i64; 2])>;

fn whole(outer: [i64; 2]) -> Tiles {
    if outer.contains(&0) { vec![] } else { vec![([0, 0], outer)] }
}

fn quarters(outer: [i64; 2]) -> Tiles {
    let halves = |n: i64| {
        let middle = n / 2;
        [(0, middle), (middle, n)].into_iter().filter(|(a, b)| a < b).collect::<Vec<_>>()
    };
    let rows = halves(outer[0]);
    rows.iter().flat_map(|&(a, b)| halves(outer[1]).into_iter().map(move |(c, d)| ([a, c], [b, d]))).collect()
}

fn run(function: GeneratedFn, buffers: &[Tensor], slots: &[i64], tiles: &Tiles, scratch_bytes: usize) -> Vec<Tensor> {
    let mut buffers = buffers.to_vec();
    let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.data_mut().as_mut_ptr()).collect();
    // 64-byte aligned, with a pattern behind the end that must survive.
    let mut scratch = vec![0xa5u8; scratch_bytes + 192];
    let padding = scratch.as_ptr().align_offset(64);
    let table = ic_kernels::table::table(Isa::detect());
    for &(begin, end) in tiles {
        let tile = Tile { begin, end, scratch: scratch[padding..].as_mut_ptr() };
        // SAFETY: the buffers, slots and scratch are those that the code was generated for.
        unsafe { function(pointers.as_ptr(), slots.as_ptr(), table, &tile) };
    }
    assert!(scratch[padding + scratch_bytes..].iter().all(|&b| b == 0xa5), "scratch overflows");
    buffers
}

fn compare(found: &Tensor, expected: &Tensor, tolerance: Match, what: &str) {
    let as_f64 = |data: &Data, i: usize| match data {
        Data::F32(v) => Some(f64::from(v[i])),
        Data::F64(v) => Some(v[i]),
        Data::F16(v) => Some(ic_types::f16_to_f32(v[i]).into()),
        Data::BF16(v) => Some(ic_types::bf16_to_f32(v[i]).into()),
        _ => None,
    };
    for i in 0..expected.len() {
        let (Some(a), Some(b)) = (as_f64(found.data(), i), as_f64(expected.data(), i)) else {
            assert_eq!(found.data(), expected.data(), "{what}");
            return;
        };
        let fits = a == b
            || (a.is_nan() && b.is_nan())
            || match tolerance {
                Match::Exact => false,
                Match::Within(bound) => (a - b).abs() <= bound * b.abs().max(1.0),
            };
        assert!(fits, "{what}: element {i} is {a}, expected {b}");
    }
}

/// Checks a kernel that copies its first parameter to its second.
pub(super) fn check_moves(kernel: &Kernel, source: &Tensor, result: &Tensor) {
    let mut functions = Functions::new(&host_targets()).unwrap();
    let mut dims = DimBuilder::default();
    let generated = functions.generate(kernel, Tiling::Free, &mut dims).unwrap();
    let slots = evaluate(dims, &Symbols::new());
    let outer = generated.outer.map(|slot| slots[slot as usize]);
    for (_, section) in functions.into_sections() {
        let mut memory = memmap2::MmapMut::map_anon(section.code.len()).unwrap();
        memory.copy_from_slice(&section.code);
        let memory = memory.make_exec().unwrap();
        let address = &memory[section.offsets[0] as usize] as *const u8;
        // SAFETY: the function has been generated with this signature.
        let function = unsafe { std::mem::transmute::<*const u8, GeneratedFn>(address) };
        let found = run(function, &[source.clone(), result.clone()], &slots, &whole(outer), 0);
        assert_eq!(found[1].data(), source.data());
    }
}
