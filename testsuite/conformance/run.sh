#!/usr/bin/env bash
# Dump the ONNX backend suite and run all its cases, as they are, with every input's extents symbolic, and with every input
# constant: run.sh [ONLY]. IC=PATH runs that compiler instead of a release build, IC_VARIANTS="plain dynamic constant" those
# variants alone; IC_BLESS=1 rewrites the lists of refused cases.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target="$here/../../target"
python="$target/venv/bin/python"
if [ ! -x "$python" ]; then
  python3 -m venv "$target/venv"
fi
"$python" -c "import onnx" 2>/dev/null || "$python" -m pip install --quiet onnx==1.23.2 numpy
[ -d "$target/onnx-cases/node" ] || "$python" "$here/dump_cases.py" "$target/onnx-cases"
ic=${IC:-}
if [ -z "$ic" ]; then
  cargo build --release --quiet -p ic --manifest-path "$here/../../Cargo.toml"
  ic=$target/release/ic
fi
status=0
for variant in ${IC_VARIANTS:-plain dynamic constant}; do
  "$python" "$here/run_cases.py" "$target/onnx-cases" "$ic" "$variant" "$here/refused.$variant.txt" "${1:-}" || status=1
done
exit $status
