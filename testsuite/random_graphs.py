"""Compare what `random_graphs --save DIR` has written with ONNX Runtime, without its graph optimizations.

usage: random_graphs.py DIR [SHARE]

Prints each graph whose outputs differ by more than SHARE (0.001) of their largest magnitude, or of what 16-bit floats
round off, and how many agree. What ONNX Runtime does not take is counted.
"""

import collections
import pathlib
import sys

import numpy as np
import onnxruntime as ort


def largest(got, want):
    if got.shape != want.shape or got.dtype != want.dtype:
        return np.inf
    if want.dtype.kind != "f" or not want.size:
        return 0.0 if np.array_equal(got, want) else np.inf
    a, b = got.astype(np.float64), want.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    error = np.where(same, 0.0, np.abs(a - b))
    scale = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
    return float(np.nan_to_num(error, nan=np.inf).max() / scale)


def judge(folder, share):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        inputs, outputs = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")
        wanted = session.run(None, {name: inputs[name] for name in inputs.files})
    except Exception as error:
        return "not taken", str(error)
    for output, want in zip(session.get_outputs(), wanted):
        if output.name in outputs.files:
            error = largest(outputs[output.name], want)
            if error > (0.02 if want.dtype == np.float16 else share):
                return "differs", f"`{output.name}` by {error:.2e} of its scale"
    return "agrees", ""


def main():
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-3
    counts = collections.Counter()
    for folder in sorted(p.parent for p in pathlib.Path(sys.argv[1]).glob("*/model.onnx")):
        verdict, why = judge(folder, share)
        counts[verdict] += 1
        if verdict == "differs":
            print(f"{folder.name}: {why}")
    print(dict(counts))
    sys.exit(counts["differs"] > 0)


main()
