#!/usr/bin/env bash
# Compare the kernels of the cases of the ONNX backend suite that are there twice, as one op and as the function that defines
# it: pairs.sh [ONLY]. IC=PATH uses that compiler instead of a release build; IC_BLESS=1 rewrites the list of pairs that
# differ and that of how many kernels the cases of each op have.
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
exec "$python" "$here/compare_pairs.py" "$target/onnx-cases" "$ic" "$here/differing_pairs.txt" "$here/pair_kernels.txt" "${1:-}"
