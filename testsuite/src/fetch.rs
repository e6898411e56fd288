//! Obtains models from packages by the packages' own clients, and keeps them under `target/models`.

use crate::catalog::{Model, Source};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in which models are kept.
pub fn models_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models")
}

/// Where the model's file is, if it has been obtained.
pub fn obtained(model: &Model) -> Option<PathBuf> {
    let path = models_folder().join(format!("{}.onnx", model.name));
    path.is_file().then_some(path)
}

/// Obtains the model's file unless it is there already.
///
/// # Errors
/// If the package client fails, or the package lacks the file.
pub fn obtain(model: &Model) -> Result<PathBuf> {
    if let Some(path) = obtained(model) {
        return Ok(path);
    }
    let folder = models_folder();
    fs::create_dir_all(&folder)?;
    let bytes = match model.source {
        Source::Crate { name, version } => {
            let file = crate_sources(name, version)?.join(model.path);
            fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        Source::Wheel { requirement } => read_wheel(requirement, model.path)?,
    };
    let path = folder.join(format!("{}.onnx", model.name));
    let partial = tempfile::NamedTempFile::new_in(&folder)?;
    fs::write(partial.path(), bytes)?;
    partial.persist(&path)?;
    Ok(path)
}

/// The folder with the sources of a crate, which cargo downloads if need be.
///
/// # Errors
/// If cargo cannot obtain the crate.
pub fn crate_sources(name: &str, version: &str) -> Result<PathBuf> {
    let project = tempfile::tempdir()?;
    fs::create_dir(project.path().join("src"))?;
    fs::write(project.path().join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"models\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n\
         {name} = {{ version = \"={version}\", default-features = false }}\n"
    );
    fs::write(project.path().join("Cargo.toml"), manifest)?;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1"])
        .current_dir(project.path())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == name).context("the crate was not resolved")?;
    let manifest = package["manifest_path"].as_str().context("the crate has no manifest path")?;
    Ok(Path::new(manifest).parent().context("the manifest has no folder")?.to_path_buf())
}

fn read_wheel(requirement: &str, path: &str) -> Result<Vec<u8>> {
    let cache = models_folder().join("wheels").join(requirement);
    let wheel = match find_wheel(&cache) {
        Some(wheel) => wheel,
        None => {
            let status = Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
                .arg(&cache)
                .arg(requirement)
                .status()
                .context("cannot run python3")?;
            ensure!(status.success(), "pip could not download {requirement}");
            find_wheel(&cache).with_context(|| format!("pip downloaded no wheel for {requirement}"))?
        }
    };
    let mut archive = zip::ZipArchive::new(fs::File::open(&wheel)?)?;
    let mut file = match archive.by_name(path) {
        Ok(file) => file,
        Err(error) => bail!("{}: {path}: {error}", wheel.display()),
    };
    let mut bytes = Vec::new();
    std::io::copy(&mut file, &mut bytes)?;
    Ok(bytes)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(|e| Some(e.ok()?.path())).find(|p| p.extension().is_some_and(|x| x == "whl"))
}
