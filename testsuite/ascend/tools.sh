# Sourced from the top of the checkout: fetches the vendor's compiler (a wheel, kept in target/ascend) and finds MLIR 22.
# Sets IC_BISHENGIR and IC_LLVM.

if [ -z "${IC_BISHENGIR:-}" ]; then
    venv=target/ascend/venv
    if [ ! -x "$venv/bin/pip" ]; then
        python3 -m venv "$venv" || {
            echo "needs Python's venv: apt-get install python3-venv, or set IC_BISHENGIR" >&2
            exit 1
        }
    fi
    "$venv/bin/python" -c 'import ascendnpuir' 2>/dev/null || "$venv/bin/pip" install --quiet ascendnpu-ir==1.2.0
    IC_BISHENGIR=$PWD/$("$venv/bin/python" -c 'import ascendnpuir, os
print(os.path.relpath(os.path.join(os.path.dirname(ascendnpuir.__file__), "bin")))')
fi
IC_LLVM=${IC_LLVM:-/usr/lib/llvm-22/bin}
if [ ! -x "$IC_LLVM/mlir-translate" ] || [ ! -x "$IC_LLVM/mlir-opt" ] || [ ! -x "$IC_LLVM/llc" ]; then
    apt-get install -y --no-install-recommends mlir-22-tools llvm-22 || {
        echo "needs MLIR 22: install mlir-22-tools and llvm-22 (https://apt.llvm.org), or set IC_LLVM" >&2
        exit 1
    }
fi
command -v cc >/dev/null || {
    echo "needs a C compiler as cc" >&2
    exit 1
}
export IC_BISHENGIR IC_LLVM
