//! Generated PTX, run by the emulator and compared with the reference evaluation of the graph.

mod attention;
mod kernels;
mod ops;
mod ptxas;
