#!/usr/bin/env bash
# Builds the feature `mlir` and runs its tests: every Ascend kernel of the test graphs and programs is parsed, verified
# and lowered in process, and malformed text is refused. Needs the development files of MLIR 22 and libclang (for the
# bindings), from Debian or apt.llvm.org, or below the folder in IC_LLVM_PREFIX.
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=${IC_LLVM_PREFIX:-/usr/lib/llvm-22}
packages="llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev libxml2-dev libmlir-22-dev mlir-22-tools libclang1-22 libclang-common-22-dev"
if [ ! -x "$prefix/bin/llvm-config" ] || [ ! -d "$prefix/include/mlir-c" ]; then
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $packages || {
        echo "needs MLIR 22: install $packages (https://apt.llvm.org), or set IC_LLVM_PREFIX" >&2
        exit 1
    }
fi
export MLIR_SYS_220_PREFIX=$prefix TABLEGEN_220_PREFIX=$prefix LIBCLANG_PATH=$prefix/lib
cargo test -p ic-codegen -p ic-testsuite --features ic-codegen/mlir,ic-testsuite/mlir --lib --test ascend -- mlir in_process
