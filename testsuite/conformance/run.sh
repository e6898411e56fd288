#!/usr/bin/env bash
# Dump the ONNX backend suite and run all its cases: run.sh [ONLY]. IC_BLESS=1 rewrites the list of passing cases.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target="$here/../../target"
python="$target/venv/bin/python"
if [ ! -x "$python" ]; then
  python3 -m venv "$target/venv"
fi
"$python" -c "import onnx" 2>/dev/null || "$python" -m pip install --quiet onnx==1.23.2 numpy
[ -d "$target/onnx-cases/node" ] || "$python" "$here/dump_cases.py" "$target/onnx-cases"
cargo build --release --quiet -p ic --manifest-path "$here/../../Cargo.toml"
"$python" "$here/run_cases.py" "$target/onnx-cases" "$target/release/ic" "$here/passing.txt" "${1:-}"
