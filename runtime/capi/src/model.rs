//! Models: load, describe, run, free.

use crate::describe::Described;
use crate::error::guarded;
use crate::outputs::{self, Results};
use crate::tensor::text;
use crate::{Description, Outputs, Tensor};
use ic_runtime::{Options, Session, TensorView};
use std::ffi::{c_char, c_void};

/// How a model is loaded. All zeros means the defaults.
#[derive(Debug)]
#[repr(C)]
pub struct LoadOptions {
    /// Number of threads that a run may use, the caller's included; 0 for one per core.
    pub threads: usize,
    /// Kernels to use: "portable", "avx2", "avx512", "amx" or "neon"; NULL for the fastest of this machine.
    pub kernels: *const c_char,
    /// The artifact's target to use; NULL for the best for this machine.
    pub target: *const c_char,
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    /// C sees addresses only; what is there is a [`Loaded`].
    _opaque: [u8; 0],
}

/// What a [`Model`] is.
#[derive(Debug)]
#[repr(C)]
struct Loaded {
    /// What `ic_free` goes by.
    kind: u64,
    described: Described,
    /// One per entry, in the manifest's order.
    sessions: Vec<Session>,
}

/// `Loaded::kind`.
const KIND: u64 = u64::from_le_bytes(*b"ic model");

/// Loads the artifact in the file `path`, which is in UTF-8. Weights are mapped, not read. Returns NULL on failure;
/// `ic_last_error` says why.
///
/// # Safety
/// `path` ends with a zero byte; `options` is NULL or points to options whose texts are NULL or end with a zero byte.
/// An artifact holds machine code: loading one is trusting its author. Nobody may change the file before the model is
/// freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ic_load(path: *const c_char, options: *const LoadOptions) -> *mut Model {
    let mut model = std::ptr::null_mut();
    guarded(|| {
        // SAFETY: the caller promises the same.
        let loaded = unsafe { load(path, options.as_ref()) }?;
        model = Box::into_raw(Box::new(loaded)).cast();
        Ok(())
    });
    model
}

/// # Safety
/// As for [`ic_load`].
unsafe fn load(path: *const c_char, options: Option<&LoadOptions>) -> Result<Loaded, String> {
    let (mut load, mut run) = (ic_runtime::LoadOptions::new(), Options::new());
    // SAFETY: the caller vouches for the texts.
    let path = unsafe { text(path, "path") }?;
    if let Some(options) = options {
        if options.threads > 0 {
            run = run.threads(options.threads);
        }
        if !options.kernels.is_null() {
            // SAFETY: the caller vouches for the texts.
            run = run.kernels(unsafe { text(options.kernels, "kernels") }?);
        }
        if !options.target.is_null() {
            // SAFETY: the caller vouches for the texts.
            load = load.target(unsafe { text(options.target, "target") }?);
        }
    }
    // SAFETY: the caller trusts the artifact's author.
    let model = unsafe { ic_runtime::Model::load_with(path, &load) }.map_err(|e| e.to_string())?;
    let mut sessions: Vec<Session> = Vec::new();
    for entry in model.entries() {
        let session = match sessions.first() {
            Some(first) => first.sibling(&entry.name),
            None => model.session_entry(&entry.name, &run),
        };
        sessions.push(session.map_err(|e| e.to_string())?);
    }
    Ok(Loaded { kind: KIND, described: Described::new(model.manifest(), model.target()), sessions })
}

/// Describes a model. The description belongs to the model and lives as long; it is the same at every call. Returns
/// NULL if `model` is NULL.
///
/// # Safety
/// `model` is NULL or comes from `ic_load` and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ic_describe(model: *const Model) -> *const Description {
    let mut description = std::ptr::null();
    guarded(|| {
        // SAFETY: the caller vouches for the model.
        description = unsafe { model.cast::<Loaded>().as_ref() }.ok_or("model is NULL")?.described.get();
        Ok(())
    });
    description
}

/// Runs an entry of a model. Returns 0, or 1 on failure, or 2 on a bug in ic; `ic_last_error` says why.
///
/// `entry` is a name, or NULL for `main` or the only one. Inputs are meant by name, or by position where the name is
/// NULL. `*outputs` must be NULL or what an earlier run gave: its memory is used again, and what it held is lost. It
/// must be freed in the end, also if the run fails and it is not NULL then.
///
/// Several threads may run one model at a time, with outputs of their own; runs of a model that has states wait for
/// one another.
///
/// # Safety
/// `model` comes from `ic_load` and has not been freed. `entry` is NULL or ends with a zero byte. `inputs` points to
/// `n_inputs` tensors whose pointers are as described there; nobody changes them during the call. `outputs` points to
/// a pointer that is NULL or comes from `ic_run`, and that no other thread uses during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ic_run(
    model: *const Model,
    entry: *const c_char,
    inputs: *const Tensor,
    n_inputs: usize,
    outputs: *mut *mut Outputs,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller vouches for the model.
        let model = unsafe { model.cast::<Loaded>().as_ref() }.ok_or("model is NULL")?;
        // SAFETY: the caller vouches for the text.
        let session = unsafe { session(model, entry) }?;
        if inputs.is_null() && n_inputs > 0 {
            return Err("inputs is NULL".into());
        }
        // SAFETY: the caller vouches for `outputs`.
        let place = unsafe { outputs.as_mut() }.ok_or("outputs is NULL")?;
        let inputs = match n_inputs {
            0 => &[],
            // SAFETY: the caller vouches for the tensors.
            _ => unsafe { std::slice::from_raw_parts(inputs, n_inputs) },
        };
        if place.is_null() {
            *place = Box::into_raw(Box::new(Results::new())).cast();
        }
        // SAFETY: `place` comes from here or from an earlier run.
        if unsafe { (**place).kind } != outputs::KIND {
            return Err("*outputs is neither NULL nor from ic_run".into());
        }
        // SAFETY: outputs are the first part of results.
        let results = unsafe { &mut *place.cast::<Results>() };
        results.clear();
        // SAFETY: the caller vouches for the tensors.
        unsafe { run(session, inputs, results) }
    })
}

/// The session on the entry called `entry`.
///
/// # Safety
/// `entry` is null or ends with a zero byte.
unsafe fn session(model: &Loaded, entry: *const c_char) -> Result<&Session, String> {
    let name = match entry.is_null() {
        true => None,
        // SAFETY: the caller vouches for the text.
        false => Some(unsafe { text(entry, "entry") }?),
    };
    match (name, model.sessions.as_slice()) {
        (None, [only]) => Ok(only),
        (name, sessions) => {
            let name = name.unwrap_or("main");
            let found = sessions.iter().find(|session| session.entry().name == name);
            let known = || sessions.iter().map(|s| s.entry().name.as_str()).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| format!("no entry `{name}`; there are: {}", known()))
        }
    }
}

/// # Safety
/// Pointers of `inputs` are as described there.
unsafe fn run(session: &Session, inputs: &[Tensor], results: &mut Results) -> Result<(), String> {
    let ports = &session.entry().inputs;
    let mut named: Vec<(&str, Vec<usize>)> = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let by_position = ports.get(index).map(|port| port.name.as_str());
        let name = match (input.name.is_null(), by_position) {
            // SAFETY: the caller vouches for the text.
            (false, _) => unsafe { text(input.name, "an input's name") }?,
            (true, Some(name)) => name,
            (true, None) => return Err(format!("input {index} has no name, and there are {} inputs", ports.len())),
        };
        // SAFETY: the caller vouches for the shape.
        let extents = unsafe { input.extents() }.map_err(|problem| format!("input `{name}`: {problem}"))?;
        named.push((name, extents));
    }
    let mut views: Vec<(&str, TensorView)> = Vec::with_capacity(inputs.len());
    for (input, (name, extents)) in inputs.iter().zip(&named) {
        // SAFETY: the caller vouches for the data.
        let view = unsafe { input.view(extents) }.map_err(|problem| format!("input `{name}`: {problem}"))?;
        views.push((name, view));
    }
    session.run_into(&views, &mut results.outputs).map_err(|e| e.to_string())?;
    results.describe();
    Ok(())
}

/// Frees a model or outputs. Outputs may be freed after their model. Does nothing if `object` is NULL.
///
/// # Safety
/// `object` is NULL or comes from `ic_load` or `ic_run`, has not been freed, and is not in use by another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ic_free(object: *mut c_void) {
    if object.is_null() {
        return;
    }
    guarded(|| {
        // SAFETY: all objects start with their kind.
        match unsafe { object.cast::<u64>().read() } {
            // SAFETY: it comes from `ic_load`.
            KIND => drop(unsafe { Box::from_raw(object.cast::<Loaded>()) }),
            // SAFETY: it comes from `ic_run`.
            outputs::KIND => drop(unsafe { Box::from_raw(object.cast::<Results>()) }),
            _ => return Err("object is neither a model nor outputs".into()),
        }
        Ok(())
    });
}
