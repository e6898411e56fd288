#!/usr/bin/env bash
# Latency of `ic` and of the runtimes that are installed, side by side, on a folder of models: run.sh IC FOLDER [CASE…], with
# the options of bench.py; run.sh --sweep IC, with those of sweep.py, on random matrix products and convolutions.
# PYTHON=PATH has the runtimes; without it they are installed into target/bench-venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-}
if [ -z "$python" ]; then
  python="$here/../../target/bench-venv/bin/python"
  [ -x "$python" ] || python3 -m venv "$here/../../target/bench-venv"
  "$python" -c "import onnx, onnxruntime, openvino, tract" 2>/dev/null ||
    "$python" -m pip install --quiet numpy onnx==1.23.2 onnxruntime==1.31.1 openvino==2026.4.1 tract==0.23.9
fi
if [ "${1:-}" = --sweep ]; then
  shift
  exec "$python" "$here/sweep.py" "$@"
fi
exec "$python" "$here/bench.py" "$@"
