//! A model on a GPU: its module and its weights.

use super::device::Device;
use super::memory::DeviceMemory;
use crate::Error;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction_attribute, CUjit_option, CUresult};
use ic_artifact::{DimOp, Place, Plan, Step};
use std::ffi::{CString, c_void};
use std::sync::Arc;

/// Static and dynamic shared memory that a kernel has without asking for more.
const SHARED_BYTES: u32 = 48 << 10;
/// Room for what the driver's assembler says.
const LOG_BYTES: usize = 4096;
/// Weights begin at multiples of this.
const ALIGNMENT: u64 = 256;

/// A model on a GPU.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(super) device: Arc<Device>,
    module: Module,
    memory: DeviceMemory,
    /// What the memory holds, in the order of the weight section.
    parts: Vec<Part>,
}

/// A kernel. Lives as long as its [`Gpu`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(pub(super) sys::CUfunction);

// SAFETY: a handle, which the driver takes from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A loaded module.
#[derive(Debug)]
struct Module {
    device: Arc<Device>,
    handle: sys::CUmodule,
}

// SAFETY: a handle, which the driver takes from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// A run of weights that plans of this device use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    /// Where it begins in the weight section.
    from: u64,
    /// Where it ends there.
    end: u64,
    /// Where it begins in the device's memory.
    at: u64,
}

impl Gpu {
    /// Loads the module `code` and copies the weights that the plans use.
    ///
    /// # Errors
    /// If the driver does not take the module, or the GPU's memory is too small.
    pub(crate) fn load(
        device: Arc<Device>,
        code: &[u8],
        plans: &[Plan],
        weights: &[u8],
        origin: &str,
    ) -> Result<Gpu, Error> {
        device.enter()?;
        let module = Module::load(&device, code).map_err(|problem| device.refuse(format!("`{origin}`: {problem}")))?;
        let parts = used_weights(plans, weights.len() as u64);
        let bytes = parts.last().map_or(0, |part| part.at + part.end - part.from);
        let memory = DeviceMemory::new(&device, bytes as usize, "weights")?;
        for part in &parts {
            memory.write(part.at as usize, &weights[part.from as usize..part.end as usize])?;
        }
        Ok(Gpu { device, module, memory, parts })
    }

    /// As the driver names the device.
    pub(crate) fn name(&self) -> &str {
        self.device.name()
    }

    /// The address of the weight at `offset` of the weight section, which a plan has.
    pub(super) fn weight(&self, offset: u64) -> u64 {
        let index = self.parts.partition_point(|part| part.from <= offset).saturating_sub(1);
        self.memory.address() + self.parts.get(index).map_or(0, |part| part.at + offset - part.from)
    }

    /// The kernels of a plan.
    ///
    /// # Errors
    /// If the module lacks one, or it cannot have the shared memory that the plan gives it.
    pub(crate) fn functions(&self, plan: &Plan) -> Result<Vec<Function>, Error> {
        self.device.enter()?;
        let mut functions = Vec::new();
        for (index, name) in plan.functions.iter().enumerate() {
            let what = format!("its module has no kernel `{name}`");
            let text = CString::new(name.as_str()).map_err(|_| self.device.refuse(what.clone()))?;
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(self.module.handle, text) };
            let function = function.map_err(self.device.failed(&what))?;
            let shared = plan.steps.iter().filter_map(|step| match step {
                Step::Launch { function, shared_bytes, .. } if *function as usize == index => Some(*shared_bytes),
                _ => None,
            });
            if let Some(bytes) = shared.max().filter(|bytes| *bytes > SHARED_BYTES) {
                let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let bytes_or_most = i32::try_from(bytes).unwrap_or(i32::MAX);
                // SAFETY: the function is of a loaded module.
                let allowed = unsafe { result::function::set_function_attribute(function, attribute, bytes_or_most) };
                allowed.map_err(self.device.failed(&format!("`{name}` needs {bytes} bytes of shared memory")))?;
            }
            functions.push(Function(function));
        }
        Ok(functions)
    }
}

impl Module {
    /// Lets the driver assemble PTX that ends with a zero byte.
    fn load(device: &Arc<Device>, code: &[u8]) -> Result<Module, String> {
        if code.last() != Some(&0) {
            return Err("its code does not end with a zero byte".into());
        }
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The size is passed as a pointer's value.
        let mut values: [*mut c_void; 2] =
            [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut::<c_void>(LOG_BYTES)];
        let mut handle = std::ptr::null_mut();
        let (n, image) = (options.len() as u32, code.as_ptr().cast());
        // SAFETY: the text ends with a zero; options and values are as many as stated, and the log has its size.
        let status =
            unsafe { sys::cuModuleLoadDataEx(&mut handle, image, n, options.as_mut_ptr(), values.as_mut_ptr()) };
        match status.result() {
            Ok(()) => Ok(Module { device: device.clone(), handle }),
            Err(e) if e.0 == CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                let version = ptx_version(code);
                Err(format!("the driver, of CUDA {}, is too old for its PTX{version}", device.cuda_version()))
            }
            Err(e) => {
                let said = String::from_utf8_lossy(&log);
                let said = said.trim_end_matches('\0').trim();
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                Err(format!("the driver does not take its PTX: {}{said}", super::driver::describe(e)))
            }
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: loaded once, and nothing that runs uses it. Nothing can be done about an error.
            let _ = unsafe { result::module::unload(self.handle) };
        }
    }
}

/// The version of a module, with a space before it.
fn ptx_version(code: &[u8]) -> String {
    let text = String::from_utf8_lossy(code);
    let version = text.lines().find_map(|line| line.trim().strip_prefix(".version"));
    version.map_or(String::new(), |version| format!(" {}", version.trim()))
}

/// The weights that plans use, with a place for each run of them.
fn used_weights(plans: &[Plan], all: u64) -> Vec<Part> {
    let mut used: Vec<(u64, u64)> = Vec::new();
    for plan in plans {
        for buffer in &plan.buffers {
            let Place::Weight { offset } = buffer.place else { continue };
            let end = match plan.dims[buffer.bytes as usize] {
                DimOp::Const(bytes) => offset.saturating_add(u64::try_from(bytes).unwrap_or(0)),
                _ => all,
            };
            used.push((offset.min(all), end.min(all)));
        }
    }
    used.sort_unstable();
    let mut parts: Vec<Part> = Vec::new();
    for (from, end) in used {
        match parts.last_mut() {
            // Neighbours stay neighbours.
            Some(last) if from <= last.end + ALIGNMENT => last.end = last.end.max(end),
            last => {
                let at = last.map_or(0, |part| (part.at + part.end - part.from).next_multiple_of(ALIGNMENT));
                parts.push(Part { from, end, at });
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_artifact::Buffer;

    #[test]
    fn weights_of_others_stay_behind() {
        let plan = |places: &[(u64, i64)]| Plan {
            dims: places.iter().map(|&(_, bytes)| DimOp::Const(bytes)).collect(),
            buffers: (0u32..)
                .zip(places)
                .map(|(slot, &(offset, _))| Buffer { bytes: slot, place: Place::Weight { offset } })
                .collect(),
            ..Plan::default()
        };
        let plans = [plan(&[(4096, 100), (0, 64)]), plan(&[(64, 64), (4096, 200), (8192, 1 << 40)])];
        let part = |from, end, at| Part { from, end, at };
        assert_eq!(used_weights(&plans, 10_000), [part(0, 128, 0), part(4096, 4296, 256), part(8192, 10_000, 512)]);
        assert_eq!(used_weights(&[], 10_000), []);
    }
}
