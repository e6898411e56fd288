//! Tells what kind of file each argument is, by magika, a trained model that `build.rs` compiles.

use ic_runtime::typed::TensorView;
use std::error::Error;
use std::fs;
use std::path::Path;

ic_runtime::include_model!("magika");

/// The kinds of files, in the order of the model's scores.
const LABELS: &str = include_str!(env!("LABELS"));

/// Bytes that the model sees from the start and from the end of a file.
const HALF: usize = 1024;

/// Bytes from which they are taken, after white space.
const BLOCK: usize = 4096;

/// Stands where a file has no bytes.
const PADDING: i32 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let model = Magika::load()?;
    let labels: Vec<&str> = LABELS.lines().collect();
    for path in std::env::args_os().skip(1) {
        let path = Path::new(&path);
        let features = features(&fs::read(path)?);
        let scores = model.run(TensorView::new([1, 2 * HALF], &features)?)?.target_label.into_elements();
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let (label, score) = best.map_or(("unknown", 0.0), |(i, &score)| (labels.get(i).copied().unwrap_or("?"), score));
        println!("{}: {label} ({:.1}%)", path.display(), 100.0 * score);
    }
    Ok(())
}

/// The first and last bytes of a file, white space stripped outside.
fn features(content: &[u8]) -> Vec<i32> {
    let first = content[..content.len().min(BLOCK)].trim_ascii_start();
    let last = content[content.len().saturating_sub(BLOCK)..].trim_ascii_end();
    let mut features = vec![PADDING; 2 * HALF];
    for (to, &from) in features.iter_mut().zip(&first[..first.len().min(HALF)]) {
        *to = from.into();
    }
    for (to, &from) in features.iter_mut().rev().zip(last.iter().rev().take(HALF)) {
        *to = from.into();
    }
    features
}
