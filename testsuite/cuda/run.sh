#!/usr/bin/env bash
# Compiles models for an NVIDIA GPU, compares their results there with what is expected, and times them.
#
#     testsuite/cuda/run.sh IC FOLDER [NAME…]
#
# FOLDER has a folder for each model, NAME/, with
#     model.onnx, model.ic or model.ica     what to compile, or what has been compiled elsewhere
#     inputs.npz                            inputs by name; without it, random ones
#     expected.npz                          outputs by name; without it, the model is evaluated, which is slow
#     options                               more arguments of `ic compile`, such as --precision f16
#     tolerance                             largest error as a share of an output's scale [default: 1e-3]
#
# The environment says otherwise than DEVICE=cuda TARGET=nvptx:sm_90a RUNS=(two seconds' worth) where it has to.
# NAME/log.txt has what `ic` said, with the time of each kernel. Prints a table, and fails if a model fails.
# `median_ms` is of replayed launches with the copies of inputs and outputs; `kernels_ms` is the sum over kernels.
set -uo pipefail
ic=$1 folder=$2
shift 2
device=${DEVICE:-cuda} target=${TARGET:-nvptx:sm_90a} failed=0
[ $# -gt 0 ] || set -- $(cd "$folder" && ls -d -- */ | tr -d /)

report() { printf '%-28s %10s %12s %11s %11s  %s\n' "$@"; }

# What a file of one JSON object says of a key; the largest, if there are several.
value() { grep -o "\"$2\": *[^,}]*" "$1" 2>/dev/null | cut -d: -f2 | sort -g | tail -1; }

# Compiles, verifies and times the model in folder $1, called $2.
one() {
    local at=$1 name=$2 model="" artifact=$1/model.ica log=$1/log.txt inputs=() options=() verdict=right
    local start compile=- file
    : >"$log"
    for file in "$at"/model.onnx "$at"/model.ic; do [ -e "$file" ] && model=$file; done
    [ -e "$at/inputs.npz" ] && inputs=(--inputs "$at/inputs.npz")
    [ -e "$at/options" ] && read -ra options <"$at/options"
    if [ -n "$model" ]; then
        start=$(date +%s%N)
        if ! "$ic" compile "$model" -o "$artifact" --target "$target" "${options[@]}" >>"$log" 2>&1; then
            report "$name" - - - - "does not compile: $(grep -m1 ^error "$log")"
            return 1
        fi
        compile=$(awk "BEGIN { printf \"%.2f\", ($(date +%s%N) - $start) / 1e9 }")
    fi
    [ -e "$at/expected.npz" ] && model=$at/expected.npz
    "$ic" verify "$model" "$artifact" --device "$device" "${inputs[@]}" --json \
        --tolerance "$(cat "$at/tolerance" 2>/dev/null || echo 1e-3)" >"$at/verify.json" 2>>"$log" ||
        verdict="WRONG: $(tail -1 "$log")"
    "$ic" bench "$artifact" --device "$device" "${inputs[@]}" ${RUNS:+--runs "$RUNS"} --json >"$at/bench.json" 2>>"$log" ||
        verdict="$verdict; not timed: $(tail -1 "$log")"
    "$ic" bench "$artifact" --device "$device" "${inputs[@]}" --warmup 1 --runs 5 --profile >"$at/profile.txt" 2>>"$log"
    cat "$at/profile.txt" >>"$log"
    report "$name" "$compile" "$(value "$at/verify.json" max_rel)" "$(value "$at/bench.json" median_ms | cut -c1-9)" \
        "$(awk '$1 ~ /%$/ { total += $2 * $3 / 5000 } END { printf "%.3f", total }' "$at/profile.txt")" "$verdict"
    [ "$verdict" = right ]
}

report model compile_s largest_err median_ms kernels_ms verdict
for name in "$@"; do
    one "$folder/$name" "$name" || failed=1
done
exit $failed
