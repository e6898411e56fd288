#!/usr/bin/env bash
# Write docs/ops.md from the importer's table (target/ops.txt, which `cargo xtask ops` leaves): ops.sh [ONLY]. IC=PATH runs
# that compiler instead of a release build.
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
"$python" "$here/ops.py" "$target/onnx-cases" "$ic" "$target/ops.txt" "$here/../../docs/ops.md" "${1:-}"
