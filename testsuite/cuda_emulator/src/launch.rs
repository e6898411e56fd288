//! Modules, kernels and work that streams run.

use crate::api::{Handle, INVALID_PTX, INVALID_VALUE, NOT_FOUND, Status, memory_status, put, status_of};
use crate::driver::{Driver, Kernel, check, with};
use crate::memory::{copy, fill};
use ic_ptx_emulator::{Launch, Module};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::sync::Arc;

/// What a stream is given.
#[derive(Clone)]
pub(crate) enum Work {
    Kernel {
        kernel: Kernel,
        launch: Launch,
    },
    Write {
        to: u64,
        contents: Vec<u8>,
    },
    /// To an address of the host.
    Read {
        to: usize,
        from: u64,
        bytes: usize,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Fill {
        to: u64,
        value: u8,
        bytes: usize,
    },
}

/// Does it.
pub(crate) fn perform(driver: &mut Driver, work: &Work) -> Result<(), Status> {
    match work {
        Work::Write { to, contents } => driver.memory.write(*to, contents).map_err(|e| memory_status(&e)),
        Work::Read { to, from, bytes } => {
            let mut contents = vec![0; *bytes];
            driver.memory.read(*from, &mut contents).map_err(|e| memory_status(&e))?;
            // SAFETY: the caller of the copy vouched for `bytes` bytes there until the stream has done it.
            unsafe {
                std::ptr::copy_nonoverlapping(contents.as_ptr(), std::ptr::with_exposed_provenance_mut(*to), *bytes);
            }
            Ok(())
        }
        Work::Copy { to, from, bytes } => copy(driver, *to, *from, *bytes),
        Work::Fill { to, value, bytes } => fill(driver, *to, *value, *bytes),
        Work::Kernel { kernel, launch } => {
            match ic_ptx_emulator::launch(&kernel.module.functions[kernel.index], &driver.memory, launch) {
                Ok(counts) => {
                    driver.counts += &counts;
                    Ok(())
                }
                Err(fault) => {
                    driver.message = fault.to_string();
                    let _ = writeln!(std::io::stderr(), "emulated device: {fault}");
                    driver.failed = Some(status_of(&fault));
                    Err(status_of(&fault))
                }
            }
        }
    }
}

fn load(driver: &mut Driver, to: *mut Handle, image: *const c_void) -> Result<(), Status> {
    if image.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller vouches for text that ends with a zero.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    let module = text.to_str().map_err(|_| "the module is no text".to_string());
    match module.and_then(|text| Module::parse(text).map_err(|e| e.to_string())) {
        Ok(module) => check(put(to, driver.modules.add(Arc::new(module)))),
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "emulated device: {message}");
            driver.message = message;
            Err(INVALID_PTX)
        }
    }
}

api! {
    /// Loads a module from its text.
    fn cuModuleLoadData(to: *mut Handle, image: *const c_void) {
        with(|driver| load(driver, to, image))
    }

    /// Loads a module from its text; options have no effect.
    fn cuModuleLoadDataEx(
        to: *mut Handle,
        image: *const c_void,
        _n_options: c_uint,
        _options: *mut c_uint,
        _values: *mut *mut c_void,
    ) {
        with(|driver| load(driver, to, image))
    }

    /// Forgets a module.
    fn cuModuleUnload(module: Handle) {
        with(|driver| driver.modules.remove(module).map(|_| ()))
    }

    /// A kernel of a module.
    fn cuModuleGetFunction(to: *mut Handle, module: Handle, name: *const c_char) {
        with(|driver| {
            if name.is_null() {
                return Err(INVALID_VALUE);
            }
            let module = driver.modules.get(module)?.clone();
            // SAFETY: the caller vouches for text that ends with a zero.
            let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| NOT_FOUND)?;
            let index = module.functions.iter().position(|f| f.name == name).ok_or(NOT_FOUND)?;
            check(put(to, driver.kernels.add(Kernel { module, index })))
        })
    }

    /// An attribute of a kernel: bytes of shared memory, most threads, else 0.
    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, kernel: Handle) {
        with(|driver| {
            let kernel = driver.kernels.get(kernel)?;
            let function = &kernel.module.functions[kernel.index];
            let most = function.max_threads.map_or(1024, |sizes| sizes.iter().product());
            check(put(value, match attribute {
                0 => most as c_int,
                1 => function.shared_bytes as c_int,
                _ => 0,
            }))
        })
    }

    /// Allows a kernel more shared memory, which needs no permission here.
    fn cuFuncSetAttribute(kernel: Handle, _attribute: c_int, _value: c_int) {
        with(|driver| driver.kernels.get(kernel).map(|_| ()))
    }

    /// Launches a kernel. Parameters are an address for each; `extra` is not supported.
    fn cuLaunchKernel(
        kernel: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: Handle,
        params: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        with(|driver| {
            let kernel = driver.kernels.get(kernel)?.clone();
            let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
            if grid.contains(&0) || block.contains(&0) || !extra.is_null() {
                return Err(INVALID_VALUE);
            }
            let function = &kernel.module.functions[kernel.index];
            let params = read_params(&function.params, function.param_bytes(), params)?;
            let launch = Launch { grid, block, params, dynamic_shared: shared_bytes, host_threads: 0 };
            crate::stream::enqueue(driver, stream, Work::Kernel { kernel, launch })
        })
    }
}

/// The block of parameters, each at the address that the caller gives.
fn read_params(sizes: &[(usize, usize)], bytes: usize, params: *mut *mut c_void) -> Result<Vec<u8>, Status> {
    let mut block = vec![0; bytes];
    if sizes.is_empty() {
        return Ok(block);
    }
    if params.is_null() {
        return Err(INVALID_VALUE);
    }
    for (i, &(at, size)) in sizes.iter().enumerate() {
        // SAFETY: the caller vouches for as many addresses as the kernel has parameters.
        let address = unsafe { *params.add(i) };
        if address.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller vouches for a value of the parameter's size there.
        let value = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), size) };
        block[at..at + size].copy_from_slice(value);
    }
    Ok(block)
}
