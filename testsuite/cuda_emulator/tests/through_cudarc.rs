//! Programs that use the driver through cudarc run on the emulator, if it is loaded before cudarc's first call.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(unsafe_code, reason = "launches of kernels are unsafe in cudarc, as is loading a library")]
#![cfg(target_os = "linux")]

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::sync::Arc;

// The library is built with it.
use cuda as _;

/// Adds `%p2` to each of `n` words.
const PTX: &str = "
.version 7.1
.target sm_80
.address_size 64
.visible .entry add(.param .u64 add_p0, .param .u32 add_n, .param .f32 add_p2)
.maxntid 128, 1, 1
{
    .reg .b64 %rd<3>; .reg .b32 %r<5>; .reg .f32 %f<3>; .reg .pred %p<2>;
    ld.param.u64 %rd0, [add_p0]; ld.param.u32 %r0, [add_n]; ld.param.f32 %f0, [add_p2];
    mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r1, %r2, %r3, %r1;
    setp.ge.u32 %p0, %r1, %r0;
    @%p0 bra $END;
    mad.wide.s32 %rd1, %r1, 4, %rd0;
    ld.global.f32 %f1, [%rd1]; add.rn.f32 %f1, %f1, %f0; st.global.f32 [%rd1], %f1;
$END:
    ret;
}
";

/// The emulator in this process, as `libcuda.so`.
fn emulated() -> Arc<CudaContext> {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let path = folder.join("libcuda.so");
    // SAFETY: the library's initialization does nothing.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(library.unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    CudaContext::new(0).unwrap()
}

#[test]
fn kernels_run_and_faults_are_errors() {
    let context = emulated();
    assert_eq!(context.name().unwrap(), "Emulated H100");
    let stream = context.new_stream().unwrap();
    let module = context.load_module(Ptx::from_src(PTX)).unwrap();
    let add = module.load_function("add").unwrap();
    assert!(module.load_function("sub").is_err());
    let numbers: Vec<f32> = (0..300).map(|i| i as f32).collect();
    let mut memory = stream.clone_htod(&numbers).unwrap();
    let config = LaunchConfig { grid_dim: (3, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: 0 };
    let n = 300u32;
    let term = 0.5f32;
    let mut launch = stream.launch_builder(&add);
    launch.arg(&mut memory).arg(&n).arg(&term);
    // SAFETY: the kernel writes as many words as the memory has.
    unsafe { launch.launch(config) }.unwrap();
    let found = stream.clone_dtoh(&memory).unwrap();
    assert_eq!(found, numbers.iter().map(|x| x + 0.5).collect::<Vec<_>>());
    let error = context.load_module(Ptx::from_src(PTX.replace("add.rn", "frob.rn"))).unwrap_err();
    assert!(format!("{error:?}").contains("INVALID_PTX"), "{error:?}");
    // One word too many.
    let n = 384u32;
    let mut launch = stream.launch_builder(&add);
    launch.arg(&mut memory).arg(&n).arg(&term);
    // SAFETY: the emulator stops what goes beyond the memory.
    let result = unsafe { launch.launch(config) }.map(|_| ()).and_then(|()| stream.synchronize());
    assert!(format!("{result:?}").contains("ILLEGAL_ADDRESS"), "{result:?}");
    std::mem::forget((memory, stream));
}
