//! A loaded artifact: mapped, checked and ready for sessions.

use crate::device::{self, Device};
use crate::memory::{Code, Memory};
use crate::{Error, LoadOptions, Options, Session, TruncationGuard, cpu, cuda};
use ic_artifact::{ArtifactError, ArtifactReader, CodeView, Entry, KernelRef, Manifest, Plan, Target};
use ic_types::DType;
use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A loaded artifact. Cheap to clone; sessions keep it alive.
#[derive(Clone, Debug)]
pub struct Model {
    loaded: Arc<Loaded>,
}

/// What models and sessions share.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Watches `storage`, and so goes first.
    #[expect(dead_code, reason = "works by being there")]
    guard: Option<TruncationGuard>,
    storage: Storage,
    weights: Range<usize>,
    identity: [u8; 32],
    pub(crate) manifest: Manifest,
    target: usize,
    /// One per entry.
    pub(crate) plans: Vec<Plan>,
    engine: Engine,
    origin: String,
}

/// What runs the steps of plans.
#[derive(Debug)]
enum Engine {
    /// This machine's CPU: code, and where in it each function of each plan starts, plan after plan.
    Cpu { code: Code, offsets: Vec<u32> },
    /// A GPU.
    Gpu(cuda::Gpu),
}

/// Where the artifact's bytes are.
#[derive(Debug)]
enum Storage {
    Mapped(Mmap),
    Copied(Memory),
    Static(&'static [u8]),
}

impl Storage {
    fn bytes(&self) -> &[u8] {
        match self {
            Storage::Mapped(map) => map,
            Storage::Copied(memory) => memory.as_slice(),
            Storage::Static(bytes) => bytes,
        }
    }
}

impl Model {
    /// Maps and checks the artifact in the file `path`. Weights are not read.
    ///
    /// # Errors
    /// If the file cannot be mapped, is damaged, or does not run on this machine.
    ///
    /// # Safety
    /// An artifact holds machine code: its author can do whatever this process can. Nobody may change the file while
    /// it is in use.
    pub unsafe fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        // SAFETY: the caller promises the same.
        unsafe { Model::load_with(path, &LoadOptions::new()) }
    }

    /// [`load`](Self::load) with options.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    ///
    /// # Safety
    /// As for [`load`](Self::load).
    pub unsafe fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, Error> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let failed = |source| Error::Open { path: origin.clone(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(Error::Artifact { origin, source: ArtifactError::Magic });
        }
        // SAFETY: the caller promises that the file does not change.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let guard = options.exit_on_truncation.then(|| TruncationGuard::new(&map, path));
        Model::from_storage(Storage::Mapped(map), guard, origin, options)
    }

    /// Reads the artifact in the file `path`, and checks that it was signed with the key to which `key` belongs and
    /// that all of it, weights included, is what was signed.
    ///
    /// Safe where [`load`](Self::load) is not: nothing runs that the key's owner has not signed. The file is read into
    /// memory before it is checked, so that no change of it can come between. That is the price: the whole file is read
    /// and hashed, and its weights take memory of this process rather than of the page cache.
    ///
    /// # Errors
    /// If the file cannot be read, is not signed with that key, is damaged, or does not run on this machine.
    #[cfg(feature = "signed")]
    pub fn load_signed(path: impl AsRef<Path>, key: &crate::PublicKey) -> Result<Model, Error> {
        Model::load_signed_with(path, key, &LoadOptions::new())
    }

    /// [`load_signed`](Self::load_signed) with options.
    ///
    /// # Errors
    /// As for [`load_signed`](Self::load_signed).
    #[cfg(feature = "signed")]
    pub fn load_signed_with(
        path: impl AsRef<Path>,
        key: &crate::PublicKey,
        options: &LoadOptions,
    ) -> Result<Model, Error> {
        let origin = path.as_ref().display().to_string();
        let copy = Memory::copy_of_file(path.as_ref())?;
        let reader = ArtifactReader::open(copy.as_slice());
        let checked = reader.and_then(|reader| reader.verify_signature(key).and_then(|()| reader.verify_weights()));
        checked.map_err(|source| Error::Artifact { origin: origin.clone(), source })?;
        Model::from_storage(Storage::Copied(copy), None, origin, options)
    }

    /// Copies and checks an artifact in memory.
    ///
    /// # Errors
    /// If it is damaged or does not run on this machine.
    ///
    /// # Safety
    /// An artifact holds machine code: its author can do whatever this process can.
    pub unsafe fn from_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Model, Error> {
        let copy = Memory::copy_of(bytes, "the artifact")?;
        Model::from_storage(Storage::Copied(copy), None, "artifact in memory".into(), options)
    }

    /// Checks an artifact that is part of the program. It is used in place if it is 64-byte aligned.
    ///
    /// # Errors
    /// If it is damaged or does not run on this machine.
    ///
    /// # Safety
    /// An artifact holds machine code: its author can do whatever this process can.
    pub unsafe fn from_static(bytes: &'static [u8], options: &LoadOptions) -> Result<Model, Error> {
        if !bytes.as_ptr().addr().is_multiple_of(64) {
            // SAFETY: the caller promises the same.
            return unsafe { Model::from_bytes(bytes, options) };
        }
        Model::from_storage(Storage::Static(bytes), None, "artifact in the program".into(), options)
    }

    fn from_storage(
        storage: Storage,
        guard: Option<TruncationGuard>,
        origin: String,
        options: &LoadOptions,
    ) -> Result<Model, Error> {
        let damaged = |source| Error::Artifact { origin: origin.clone(), source };
        let reader = ArtifactReader::open(storage.bytes()).map_err(damaged)?;
        let manifest = reader.manifest().clone();
        check_support(&manifest, &origin)?;
        let (target, gpu) = choose_target(&manifest, &origin, options)?;
        let plans = reader.plans(target).map_err(damaged)?;
        let engine = match gpu {
            Some(gpu) => {
                let code = reader.device_code(target).map_err(damaged)?;
                Engine::Gpu(cuda::Gpu::load(gpu, code, &plans, reader.weights(), &origin)?)
            }
            None => {
                let code = load_code(&reader, target, &plans).map_err(damaged)?;
                Engine::Cpu { code: Code::copy_of(code.code)?, offsets: code.offsets }
            }
        };
        let (weights, identity) = (reader.weight_range(), reader.identity());
        let loaded = Loaded { guard, storage, weights, identity, manifest, target, plans, engine, origin };
        Ok(Model { loaded: Arc::new(loaded) })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    /// The hash of the header, which covers the hashes of all sections: artifacts of one identity are equal.
    pub fn identity(&self) -> [u8; 32] {
        self.loaded.identity
    }

    /// The entries: names, inputs and outputs.
    pub fn entries(&self) -> &[Entry] {
        self.loaded.manifest.callable()
    }

    /// The name of the target that was chosen.
    pub fn target(&self) -> &str {
        &self.loaded.manifest.targets[self.loaded.target].name
    }

    /// What runs it: `cpu`, or a GPU's name.
    pub fn device(&self) -> &str {
        self.loaded.gpu().map_or(device::CPU.name, cuda::Gpu::name)
    }

    /// The plan of each entry on the chosen target.
    pub fn plans(&self) -> &[Plan] {
        &self.loaded.plans
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.loaded.weights.len()
    }

    /// Reads all weights and checks their hash.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn verify_weights(&self) -> Result<(), Error> {
        let damaged = |source| Error::Artifact { origin: self.loaded.origin.clone(), source };
        ArtifactReader::open(self.loaded.storage.bytes()).and_then(|reader| reader.verify_weights()).map_err(damaged)
    }

    /// A session on the entry `main`, or on the only one.
    ///
    /// # Errors
    /// If there is no such entry, or the options cannot be met.
    pub fn session(&self, options: &Options) -> Result<Session, Error> {
        match self.entries() {
            [only] => self.session_entry(&only.name, options),
            _ => self.session_entry("main", options),
        }
    }

    /// A session on the entry `name`.
    ///
    /// # Errors
    /// If there is no such entry, or the options cannot be met.
    pub fn session_entry(&self, name: &str, options: &Options) -> Result<Session, Error> {
        Session::new(self.loaded.clone(), self.loaded.entry(name)?, options)
    }
}

impl Loaded {
    /// The first byte of the weights.
    pub(crate) fn weights(&self) -> *const u8 {
        self.storage.bytes()[self.weights.clone()].as_ptr()
    }

    /// Number of weight bytes.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.weights.len()
    }

    /// The index of the entry `name`.
    pub(crate) fn entry(&self, name: &str) -> Result<usize, Error> {
        let known = || self.manifest.entries.iter().map(|e| e.name.clone()).collect();
        let found = self.manifest.entries.iter().position(|e| e.name == name);
        found.ok_or_else(|| Error::Entry { name: name.into(), known: known() })
    }

    /// The model on the GPU that runs it, if one does.
    pub(crate) fn gpu(&self) -> Option<&cuda::Gpu> {
        match &self.engine {
            Engine::Gpu(gpu) => Some(gpu),
            Engine::Cpu { .. } => None,
        }
    }

    /// Addresses of the functions of the plan of `entry`, all inside the code; none on a GPU.
    pub(crate) fn functions(&self, entry: usize) -> Vec<*const u8> {
        let Engine::Cpu { code, offsets } = &self.engine else { return Vec::new() };
        let begin: usize = self.plans[..entry].iter().map(|plan| plan.functions.len()).sum();
        let offsets = &offsets[begin..begin + self.plans[entry].functions.len()];
        offsets.iter().map(|&offset| code.at(offset)).collect()
    }

    /// The refusal of an artifact that needs `kernel`.
    pub(crate) fn lacks_kernel(&self, kernel: &KernelRef, found: Option<u32>) -> Error {
        let KernelRef { name, layout, revision } = kernel;
        let has = found.map_or(String::new(), |found| format!(" (it has revision {found})"));
        Error::Unsupported {
            origin: self.origin.clone(),
            needs: format!("kernel `{name}` of layout {layout} in revision {revision}{has}"),
            producer: self.manifest.producer.clone(),
        }
    }
}

/// Whether this build has the kernels behind a feature.
fn has_feature(name: &str) -> bool {
    ic_kernels::table::features().any(|feature| feature == name)
}

/// Whether this runtime can run what the manifest describes.
fn check_support(manifest: &Manifest, origin: &str) -> Result<(), Error> {
    let lacks =
        |needs: String| Error::Unsupported { origin: origin.into(), needs, producer: manifest.producer.clone() };
    let unknown: Vec<&str> =
        manifest.features.iter().map(String::as_str).filter(|feature| !has_feature(feature)).collect();
    if !unknown.is_empty() {
        return Err(lacks(format!("the features {}", unknown.join(", "))));
    }
    let is_handle = |dtype: u8| DType::from_code(dtype).is_some_and(DType::is_handle);
    if let Some(state) = manifest.states.iter().find(|state| is_handle(state.dtype)) {
        return Err(lacks(format!("states of strings or objects (`{}`)", state.name)));
    }
    Ok(())
}

/// The code of a CPU's target.
fn load_code<'a>(reader: &ArtifactReader<'a>, target: usize, plans: &[Plan]) -> Result<CodeView<'a>, ArtifactError> {
    let code = reader.code(target)?;
    let n_functions: usize = plans.iter().map(|plan| plan.functions.len()).sum();
    if code.offsets.len() != n_functions {
        let problem = format!("{} functions, the plans name {n_functions}", code.offsets.len());
        return Err(ArtifactError::Damaged { section: "code".into(), problem });
    }
    Ok(code)
}

/// The best target for the device, or the one that the options name, and the GPU if it runs on one. Of a CPU's, the
/// first that runs is the best.
fn choose_target(
    manifest: &Manifest,
    origin: &str,
    options: &LoadOptions,
) -> Result<(usize, Option<Arc<cuda::Device>>), Error> {
    let name = options.device.as_deref().unwrap_or(device::CPU.name);
    let (device, number) = Device::from_name(name)?;
    let has_code = manifest.targets.iter().any(|target| device.runs(target));
    if has_code && !device.is_built_in() {
        return Err(Error::Option(format!("device {} is not built in", device.name)));
    }
    let is_gpu = has_code && device != device::CPU;
    let gpu = is_gpu.then(|| cuda::Device::open(name, device.engine, number)).transpose()?;
    let mut reasons = Vec::new();
    let mut best: Option<(u32, usize)> = None;
    for (index, target) in manifest.targets.iter().enumerate() {
        if options.target.as_ref().is_some_and(|name| *name != target.name) {
            continue;
        }
        let rank = if is_gpu { cuda::rank(target) } else { 0 };
        match obstacle(target, device, gpu.as_deref()) {
            None if best.is_none_or(|(known, _)| rank > known) => best = Some((rank, index)),
            None => {}
            Some(reason) => reasons.push(format!("{}: {reason}", target.name)),
        }
    }
    if let Some((_, index)) = best {
        return Ok((index, gpu));
    }
    if reasons.is_empty() {
        let names: Vec<&str> = manifest.targets.iter().map(|t| t.name.as_str()).collect();
        let wanted = options.target.as_ref().map_or(String::new(), |name| format!("target {name} was asked for, "));
        reasons.push(format!(
            "{wanted}the artifact holds {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        ));
    }
    Err(Error::NoTarget { origin: origin.into(), device: device.name.into(), reasons })
}

/// Why `target` cannot run on `device`, if it cannot.
fn obstacle(target: &Target, device: Device, gpu: Option<&cuda::Device>) -> Option<String> {
    match (device.runs(target), gpu) {
        (true, Some(gpu)) => gpu.obstacle(target),
        (true, None) => cpu::obstacle(target),
        (false, _) => Some(match Device::of_target(target) {
            Some(of) => format!("it is for device {}", of.name),
            None => "it is for another device".into(),
        }),
    }
}
