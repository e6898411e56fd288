//! Artifacts with random damage and matching hashes load or are refused; none panics.

use crate::common::*;
use ic_artifact::ArtifactReader;
use ic_runtime::*;

/// Makes the hashes of all sections and of the header match.
fn rehash(bytes: &mut [u8], sections: &[ic_artifact::Section]) {
    for (index, section) in sections.iter().enumerate() {
        let hash = blake3::hash(&bytes[section.offset as usize..section.end() as usize]);
        bytes[64 + 64 * index + 32..64 + 64 * index + 64].copy_from_slice(hash.as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..32]).update(&bytes[64..4096]);
    bytes[32..64].copy_from_slice(hasher.finalize().as_bytes());
}

/// Binds every entry to inputs of every extent from 0 to 3.
fn bind_all(model: &Model) -> Result<(), Error> {
    for entry in model.entries() {
        let session = model.session_entry(&entry.name, &Options::new().threads(1))?;
        for extent in 0..4 {
            let tensor = |port: &Port| {
                let shape = port.shape.iter().map(|text| text.parse().unwrap_or(extent)).map(|n: usize| n.min(9));
                Tensor::zeros(DType::from_code(port.dtype).unwrap(), shape.collect())
            };
            let tensors: Vec<Tensor> = entry.inputs.iter().take(9).map(tensor).collect();
            let inputs: Vec<(&str, TensorView)> =
                entry.inputs.iter().zip(&tensors).map(|(port, tensor)| (port.name.as_str(), tensor.view())).collect();
            session.prepare(&inputs)?;
        }
    }
    Ok(())
}

#[test]
fn no_mutation_panics() {
    let entries = vec![sum(), dense(), prefix(), choice(), running_total()];
    let bytes = artifact(entries, vec![total_state()], &dense_weights());
    let sections = ArtifactReader::open(&bytes).unwrap().sections().to_vec();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let (mut refused, mut bound) = (0, 0);
    for _ in 0..6000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(2) {
            // Plans, code table and manifest; weights are only data.
            let section = [sections[0], sections[0], sections[0], sections[1], sections[3]][random(5)];
            let at = section.offset as usize + random(section.length as usize);
            damaged[at] =
                [0xff, damaged[at].wrapping_add(1), damaged[at] ^ (1 << random(8)), random(256) as u8][random(4)];
        }
        rehash(&mut damaged, &sections);
        // SAFETY: the code is never run.
        match unsafe { Model::from_bytes(&damaged, &LoadOptions::new()) }.and_then(|model| bind_all(&model)) {
            Ok(()) => bound += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000 && bound > 100, "{refused} refused, {bound} bound");
}
