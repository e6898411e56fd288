#!/usr/bin/env bash
# Fetches the vendor's compiler and MLIR 22, then checks every Ascend kernel of the test graphs: its text run on this
# CPU in both spellings, and taken by the vendor's compiler as far as it goes without CANN.
#
# The wheel is kept in target/ascend. MLIR 22 comes from the packages mlir-22-tools and llvm-22 (Debian or apt.llvm.org),
# or from the folder in IC_LLVM.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/ascend/venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet ascendnpu-ir==1.2.0
fi
IC_BISHENGIR=$("$venv/bin/python" -c 'import ascendnpuir, os; print(os.path.join(os.path.dirname(ascendnpuir.__file__), "bin"))')
export IC_BISHENGIR

if [ ! -x "${IC_LLVM:-/usr/lib/llvm-22/bin}/mlir-translate" ]; then
    apt-get install -y --no-install-recommends mlir-22-tools llvm-22
fi
cargo test -p ic-testsuite --test ascend "$@"
