//! Generated PTX, run by the emulator and compared with the reference evaluation of the graph.

mod kernels;
mod ops;
mod ptxas;
