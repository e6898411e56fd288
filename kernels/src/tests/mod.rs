//! Every kernel, on every instruction set of this machine, against an oracle that is written plainly.

mod attention;
mod channels_first;
mod conv;
mod conv_oracle;
mod epilogue_oracle;
mod experts;
mod gated;
mod harness;
mod int8;
mod matmul;
mod matmul_oracle;
mod norms;
mod pieces;
mod strips;
mod winograd;
