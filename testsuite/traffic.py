"""Activation bytes of transformers against an ideal partition of their layers.

usage: traffic.py IC MODEL WIDTH INNER LAYERS KEYS {pre|post} {plain|cached} NAME=VALUE...

WIDTH is that of the layers, INNER that of the inner layer, KEYS that of keys and of values together; NAME=VALUE gives the
extents by which the report is evaluated, of which `rows` is the number of tokens. The ideal reads and writes, for each token
and layer: queries, keys and values from the normalized row; attention; projection, residual and norm; the inner layer; its
projection, residual and norm. Layers that norm first (`pre`) write the sum and the norm; models that return keys and values
for the next run (`cached`) read and write them once more. Prints what the kernels from the first to the last attention move,
for each layer and token, and its ratio to the ideal.
"""

import re
import subprocess
import sys
import tempfile


def evaluate(text, extents):
    for name, value in extents.items():
        text = re.sub(rf"\b{re.escape(name)}\b", str(value), text)
    if re.search(r"[A-Za-z_]", re.sub(r"\b(min|max)\b", "", text)):
        raise SystemExit(f"an extent is not given: {text}")
    return eval(text.replace("/", "//"), {"min": min, "max": max})


def main():
    ic, model, width, inner, layers, keys, norm, cache, *rest = sys.argv[1:]
    width, inner, layers, keys = int(width), int(inner), int(layers), int(keys)
    extents = {name: int(value) for name, value in (pair.split("=") for pair in rest)}
    rows = extents.pop("rows")
    with tempfile.TemporaryDirectory() as folder:
        command = [ic, "compile", model, "-o", f"{folder}/m.ica", "--target", "x86-64-v3", "--emit", f"report={folder}/r"]
        subprocess.run(command, check=True, capture_output=True)
        lines = [line for line in open(f"{folder}/r") if line.startswith("kernel ")]
    bytes_of = []
    for line in lines:
        found = re.match(r"kernel (\w+) .*: reads (.*) bytes of activations, writes (.*)$", line)
        bytes_of.append((found[1], evaluate(found[2], extents) + evaluate(found[3], extents)))
    marks = [i for i, (name, _) in enumerate(bytes_of) if name == "attention"]
    if len(marks) != layers:
        raise SystemExit(f"{len(marks)} attention kernels, not {layers}")
    found = sum(n for _, n in bytes_of[marks[0] : marks[-1]]) / (layers - 1) / rows / 4
    stored = 2 if norm == "pre" else 1
    ideal = [
        width + width + keys,  # queries, keys and values
        width + keys + width,  # attention
        2 * width + stored * width,  # projection, residual and norm
        width + inner,
        inner + width + stored * width,
        2 * keys if cache == "cached" else 0,
    ]
    print(f"{model}: {found:.0f} elements a token and layer, ideal {sum(ideal)}: {found / sum(ideal):.3f}")


main()
