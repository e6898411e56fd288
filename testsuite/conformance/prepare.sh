# What the scripts here start with, sourced by them: sets `here`, `target`, `python` and `ic`. The ONNX backend suite is
# dumped to target/onnx-cases; without IC=PATH the compiler is built in release.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
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
