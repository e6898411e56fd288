"""Compare what `random_graphs --save DIR` has written with ONNX Runtime, without its graph optimizations.

usage: random_graphs.py DIR [SHARE]

Prints each graph whose outputs differ by more than SHARE (0.001) of their largest magnitude, or of what 16-bit floats
round off, and how many agree. What ONNX Runtime does not take, or crashes on, is counted, and so are graphs that it
computes against the standard: `deviates` says which.
"""

import collections
import multiprocessing
import pathlib
import sys

import numpy as np
import onnx
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


def deviates(graph, arrays):
    """Whether ONNX Runtime does not follow the standard.

    It pads and measures pools as if dilations were 1 where `auto_pad` says how, and gives an element where a dilated
    window is larger than the axis: 8 elements give 7 by `SAME_UPPER` with a kernel of 2 and a dilation of 2, where the
    standard, the reference implementation and ONNX Runtime's own shape inference say 8. Where a kernel is smaller than
    the stride, it pads by less than nothing. What it makes of nothing has axes that `keepdims` takes out, or is not set.
    """
    shapes = [array.shape for array in arrays] + [list(constant.dims) for constant in graph.initializer]
    if any(0 in shape for shape in shapes):
        return True
    for node in graph.node:
        has = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type.endswith("Pool") and "kernel_shape" in has:
            strides = has.get("strides", has["kernel_shape"])
            is_short = any(kernel < stride for kernel, stride in zip(has["kernel_shape"], strides))
            if max(has.get("dilations", [1])) > 1 or (is_short and b"SAME" in has.get("auto_pad", b"")):
                return True
    return False


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
                graph, arrays = onnx.load(folder / "model.onnx").graph, [*inputs.values(), *outputs.values()]
                verdict = "deviates" if deviates(graph, arrays) else "differs"
                return verdict, f"`{output.name}` by {error:.2e} of its scale"
    return "agrees", ""


def apart(folder, share):
    """`judge` in a process of its own, which may crash."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=lambda: sender.send(judge(folder, share)))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return "crashes", ""
    finally:
        process.join()


def main():
    multiprocessing.set_start_method("fork")
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-3
    counts = collections.Counter()
    for folder in sorted(p.parent for p in pathlib.Path(sys.argv[1]).glob("*/model.onnx")):
        verdict, why = apart(folder, share)
        counts[verdict] += 1
        if verdict == "differs":
            print(f"{folder.name}: {why}")
    print(dict(counts))
    sys.exit(counts["differs"] > 0)


main()
