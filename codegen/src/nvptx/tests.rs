//! Generated PTX, run by the emulator and compared with the reference evaluation of the graph.

mod attention;
mod integers;
mod kernels;
mod ops;
mod ptxas;
