//! Generated PTX, run by a small interpreter and compared with Kernel IR.

mod interpret;
mod kernels;
mod machine;
mod ptxas;
