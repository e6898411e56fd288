#!/usr/bin/env bash
# Checks every Ascend kernel of the test graphs: its text run on this CPU in both spellings, and taken by the vendor's
# compiler as far as it goes without CANN. Fetches the vendor's compiler with pip, MLIR 22 with apt.
set -euo pipefail
cd "$(dirname "$0")/../.."
source testsuite/ascend/tools.sh
cargo test -p ic-testsuite --test ascend "$@"
