#!/usr/bin/env bash
# One artifact for a CPU, a GPU and an NPU: compiles an MLP, softmax, layer norm and a transformer layer for x86-64-v3,
# nvptx:sm_80 and ascend:910b together and checks all that needs no device; see src/bin/three_targets.rs. Prints a table
# and fails on any miss.
#
#     testsuite/three_targets.sh [IC]        # IC: the compiler to check; without it, a release build of this checkout
#
# Needs pip (NVIDIA's assembler and disassembler, the vendor's compiler: kept in target/), MLIR 22 and cc.
set -euo pipefail
cd "$(dirname "$0")/.."
source testsuite/ascend/tools.sh
python=target/ascend/venv/bin/python
"$python" -c 'import nvidia.cuda_nvcc' 2>/dev/null ||
    "$python" -m pip install --quiet nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37
packages=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])')
IC_PTXAS=${IC_PTXAS:-$packages/cuda_nvcc/bin/ptxas}
IC_NVDISASM=${IC_NVDISASM:-$(find "$packages" -name nvdisasm -type f | head -1)}
export IC_PTXAS IC_NVDISASM
ic=${1:-}
if [ -z "$ic" ]; then
    cargo build --release --quiet -p ic
    ic=target/release/ic
fi
cargo run --quiet -p ic-testsuite --bin three_targets -- "$ic" testsuite/programs/*.ic
