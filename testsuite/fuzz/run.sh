#!/usr/bin/env bash
# Fuzz each reader for SECONDS: run.sh [SECONDS=600]. Needs a C++ compiler for libFuzzer; findings stay in target/fuzz.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-600}
out=../../target/fuzz
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$flags --cfg fuzzing" CARGO_TARGET_DIR=$out/build cargo build --release --quiet --target "$host"
mkdir -p $out/corpus/{onnx_reader,text_parser,artifact_reader}
# Seeds: what is checked in, artifacts made of it, and what earlier runs left behind.
(cd ../.. && cargo build --quiet -p ic)
find ../filetests ../programs -name '*.ic' | while read -r file; do
  sed '/^test /d' "$file" >"$out/corpus/text_parser/$(echo "$file" | tr / _)"
done
for model in ../programs/*.ic ../../compiler/ic/tests/data/bert/model.onnx; do
  artifact=$out/corpus/artifact_reader/$(basename "$model").ica
  ../../target/debug/ic compile "$model" --target x86-64-v3 -o "$artifact" >/dev/null
done
for folder in ../../compiler/ic/tests/data ../../target; do
  find "$folder" -maxdepth 4 -size -60k -name '*.onnx' -exec cp --backup=numbered {} $out/corpus/onnx_reader/ \; 2>/dev/null || true
done
find ../../target -maxdepth 3 -size -100k -name '*.ica' -exec cp {} $out/corpus/artifact_reader/ \; 2>/dev/null || true
for target in onnx_reader text_parser artifact_reader; do
  echo "== $target, $seconds s"
  "$out/build/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$out/$target-" "$out/corpus/$target"
done
