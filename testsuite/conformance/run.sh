#!/usr/bin/env bash
# Dump the ONNX backend suite and run all its cases, as they are, with every input's extents symbolic, and with every input
# constant: run.sh [ONLY]. IC=PATH runs that compiler instead of a release build, IC_VARIANTS="plain dynamic constant gpu" those
# variants alone; IC_BLESS=1 rewrites the lists of refused cases.
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
status=0
for variant in ${IC_VARIANTS:-plain dynamic constant}; do
  "$python" "$here/run_cases.py" "$target/onnx-cases" "$ic" "$variant" "$here/refused.$variant.txt" "${1:-}" || status=1
done
exit $status
