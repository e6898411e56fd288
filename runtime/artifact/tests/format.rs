//! Artifacts round-trip; damaged ones are refused, and none makes the reader panic.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ic_artifact::*;
use std::io::{Cursor, Write};

const HEADER_BYTES: usize = 4096;

fn plan() -> Plan {
    let operand =
        |buffer| Some(Operand { buffer, offset: None, dtype: 1, shape: vec![0, 1], strides: Some(vec![1, 2]) });
    Plan {
        symbols: vec![SymbolSource::Input { input: 0, axis: 0 }, SymbolSource::Value { buffer: 2, element: 0 }],
        dims: vec![
            DimOp::Symbol(0),
            DimOp::Const(16),
            DimOp::Const(1),
            DimOp::Mul(0, 1),
            DimOp::FloorDiv(3, 1),
            DimOp::Mod(3, 1),
            DimOp::Const(64),
            DimOp::Symbol(1),
            DimOp::Broadcast(7, 2),
        ],
        inputs: vec![vec![0, 1]],
        outputs: vec![vec![7, 1]],
        buffers: vec![
            Buffer { bytes: 3, place: Place::Input(0) },
            Buffer { bytes: 6, place: Place::Weight { offset: 64 } },
            Buffer { bytes: 3, place: Place::Arena { first: 0, last: 4 } },
            Buffer { bytes: 1, place: Place::View { of: 1, offset: 1 } },
            Buffer { bytes: 6, place: Place::State(0) },
            Buffer { bytes: 8, place: Place::Output(0) },
        ],
        steps: vec![
            Step::Library {
                name: "/fc/MatMul".into(),
                kernel: 0,
                operands: vec![operand(0), operand(1), None, operand(2)],
                attrs: vec![1, 2],
                epilogue: vec![Epilogue::AddColumn(3), Epilogue::Clamp(0.0, 6.0), Epilogue::Strip(3)],
                callback: Some(Callback { function: 0, buffers: vec![2, 4], scratch_bytes: 6, whole_rows: false }),
            },
            Step::Branch { condition: 2, otherwise: 3 },
            Step::Jump { to: 3 },
            Step::Jump { to: 4 },
            Step::Code {
                name: "/Relu".into(),
                function: 1,
                buffers: vec![2, 5],
                outer: [0, 8],
                cost_ns: 1,
                scratch_bytes: 6,
            },
        ],
        checks: vec![],
        segments: vec![
            Segment { dims_end: 7, buffers_end: 5, steps_end: 3 },
            Segment { dims_end: 9, buffers_end: 6, steps_end: 5 },
        ],
        kernels: vec![KernelRef { name: "f32_matmul".into(), layout: 1, revision: 2 }],
        functions: vec!["callback_0".into(), "relu_1".into()],
        states: vec![StateUse { state: 0, before: Some(vec![0]), after: None }],
        work: PlanWork {
            dims: vec![DimOp::Mul(3, 1)],
            steps: vec![StepWork { step: 0, operations: 9, is_integer: true, activations: 3, weights: 6 }],
        },
    }
}

fn manifest(plan_section: u32, code_section: u32) -> Manifest {
    let port = |name: &str, first: &str| Port { name: name.into(), dtype: 1, shape: vec![first.into(), "16".into()] };
    Manifest {
        producer: "0.1.0".into(),
        entries: vec![Entry {
            name: "main".into(),
            inputs: vec![port("x", "N")],
            outputs: vec![port("y", "M")],
            symbols: vec![SymbolRange { name: "N".into(), min: 1, max: 8 }],
            states: vec![],
        }],
        states: vec![State { name: "cache".into(), dtype: 1, capacity: vec![16], append_axis: None }],
        targets: vec![Target {
            name: "x86-64-v3".into(),
            code_section,
            plan_section,
            cpu_features: vec!["avx2".into()],
        }],
        world: 1,
        metadata: vec![("author".into(), "nobody".into())],
        ..Manifest::default()
    }
}

fn write<W: Write + std::io::Seek>(writer: &mut ArtifactWriter<W>) {
    let plans = writer.plans(&[plan()]).unwrap();
    let code = writer.code(&CodeSection { offsets: vec![0, 4], code: vec![0xc3; 8] }).unwrap();
    let mut weights = writer.weights().unwrap();
    weights.write_all(&[7; 3]).unwrap();
    assert_eq!(weights.align(64).unwrap(), 64);
    weights.write_all(&[9; 64]).unwrap();
    assert_eq!(weights.finish().unwrap(), 128);
    writer.manifest(&manifest(plans, code)).unwrap();
}

fn artifact() -> Vec<u8> {
    let mut writer = ArtifactWriter::new(Cursor::new(Vec::new())).unwrap();
    write(&mut writer);
    writer.finish_into().unwrap().into_inner()
}

/// Reads everything that there is to read.
fn read(bytes: &[u8]) -> Result<(), ArtifactError> {
    let reader = ArtifactReader::open(bytes)?;
    for target in 0..reader.manifest().targets.len() {
        reader.plans(target)?;
        reader.code(target)?;
    }
    reader.verify_weights()
}

/// Makes all hashes match again, where the table still leads to something.
fn rehash(bytes: &mut [u8]) {
    for index in 0..63 {
        let entry = 64 + 64 * index;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (offset, length) = (number(entry + 8), number(entry + 16));
        let Some(end) = offset.checked_add(length).filter(|&end| end <= bytes.len()) else { continue };
        let hash = blake3::hash(&bytes[offset..end]);
        if length > 0 {
            bytes[entry + 32..entry + 64].copy_from_slice(hash.as_bytes());
        }
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..32]).update(&bytes[64..HEADER_BYTES]);
    bytes[32..64].copy_from_slice(hasher.finalize().as_bytes());
}

#[test]
fn what_was_written_is_read() {
    let bytes = artifact();
    assert_eq!(bytes, artifact(), "the same calls give the same bytes");
    let reader = ArtifactReader::open(&bytes).unwrap();
    assert_eq!(reader.manifest(), &manifest(0, 1));
    assert_eq!(reader.plans(0).unwrap(), [plan()]);
    let code = reader.code(0).unwrap();
    assert_eq!((code.offsets.as_slice(), code.code), (&[0, 4][..], &[0xc3; 8][..]));
    assert_eq!(reader.weights().len(), 128);
    assert_eq!(reader.weights()[..5], [7, 7, 7, 0, 0]);
    assert_eq!(reader.weight_range().start % 4096, 0);
    reader.verify_weights().unwrap();
}

#[test]
fn rehashing_an_intact_artifact_changes_nothing() {
    let mut bytes = artifact();
    rehash(&mut bytes);
    assert_eq!(bytes, artifact());
}

#[test]
fn every_flipped_byte_of_a_section_is_found() {
    let bytes = artifact();
    let sections = ArtifactReader::open(&bytes).unwrap().sections().to_vec();
    let ranges = sections.iter().map(|s| s.offset as usize..s.end() as usize);
    for at in ranges.chain(std::iter::once(0..HEADER_BYTES)).flatten() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).is_err(), "a flipped bit of byte {at} goes unnoticed");
    }
}

#[test]
fn damage_is_reported_with_its_section() {
    let bytes = artifact();
    let sections = ArtifactReader::open(&bytes).unwrap().sections().to_vec();
    let expected = ["plans of x86-64-v3", "code of x86-64-v3", "weights", "manifest"];
    for (section, expected) in sections.iter().zip(expected) {
        let mut damaged = bytes.clone();
        damaged[section.offset as usize] ^= 1;
        let message = read(&damaged).unwrap_err().to_string();
        assert_eq!(message, format!("artifact section `{expected}` is damaged: its hash does not match"));
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = artifact();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "truncation to {length} bytes goes unnoticed");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(ArtifactError::Length { .. })));
}

#[test]
fn no_mutation_with_matching_hashes_panics() {
    let bytes = artifact();
    let sections = ArtifactReader::open(&bytes).unwrap().sections().to_vec();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(3) {
            let choice = random(sections.len() + 1);
            let at = match sections.get(choice) {
                Some(section) => section.offset as usize + random(section.length as usize),
                None => random(64 + 64 * sections.len()),
            };
            damaged[at] = match random(4) {
                0 => 0xff,
                1 => damaged[at].wrapping_add(1),
                2 => damaged[at] ^ (1 << random(8)),
                _ => random(256) as u8,
            };
        }
        rehash(&mut damaged);
        accepted += usize::from(read(&damaged).is_ok());
    }
    assert!(accepted > 100, "mutations reach the checks behind the hashes: {accepted}");
}

#[test]
fn a_file_appears_only_when_it_is_complete() {
    let folder = std::env::temp_dir().join(format!("ic-artifact-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.ica");
    let files = || std::fs::read_dir(&folder).unwrap().count();

    let mut writer = ArtifactWriter::create(&path).unwrap();
    write(&mut writer);
    assert_eq!(files(), 1);
    assert!(!path.exists());
    drop(writer);
    assert_eq!(files(), 0, "an abandoned file is removed");

    let mut writer = ArtifactWriter::create(&path).unwrap();
    writer.weights().unwrap().write_all(b"unfinished").unwrap();
    assert!(writer.finish().is_err());
    assert_eq!(files(), 0, "a file that could not be finished is removed");

    let mut writer = ArtifactWriter::create(&path).unwrap();
    write(&mut writer);
    assert_eq!(writer.finish().unwrap(), artifact().len() as u64);
    assert_eq!(std::fs::read(&path).unwrap(), artifact());
    assert!(ArtifactWriter::create(&folder).is_err(), "a folder is not replaced");
    assert!(ArtifactWriter::create(&folder.join("missing/model.ica")).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
