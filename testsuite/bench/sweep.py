"""Random matrix products and convolutions: `ic` against ONNX Runtime, models of one op with constant weights, one thread.

usage: sweep.py IC [--gemms N] [--convs N] [--seed S] [--rounds R] [--burst SECONDS] [--only TEXT] [--json OUT.json]

Each case is compiled, measured in bursts that alternate with ONNX Runtime's, and its output compared. A ratio is the least
latency of `ic` over the least of ONNX Runtime. Prints for products and convolutions the geometric mean, the 95th percentile,
the same by kind of case, and the 20 worst cases; fails if an output is wrong. The seed says which cases there are.
"""

import argparse
import json
import math
import random
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from measure import Failed, Ic, Peer, error, geometric_mean

# Multiply-adds of a case: enough for a call of ONNX Runtime from Python not to count.
WORK = (4e6, 4e8)
TOLERANCE = 1e-4


def between(draw, low, high):
    """A whole number whose logarithm is uniform, so that sizes are odd and of all magnitudes."""
    return round(math.exp(draw.uniform(math.log(low), math.log(high))))


def constant(name, shape, rng):
    return numpy_helper.from_array((rng.standard_normal(shape) * 0.1).astype("f4"), name)


def model(nodes, x, y, weights):
    port = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "case", [port("x", x)], [port("y", y)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def gemm(draw, rng):
    """A label, a kind, multiply-adds, a model and the shape of its input."""
    while True:
        m = draw.choice([1, between(draw, 2, 16), between(draw, 17, 2000), between(draw, 17, 2000)])
        k, n = between(draw, 16, 4096), between(draw, 16, 4096)
        batch = draw.choice([1, 1, 1, between(draw, 2, 12)])
        if WORK[0] <= batch * m * k * n <= WORK[1] and k * n <= 1 << 24:
            break
    form = draw.choice(["matmul", "matmul", "gemm", "batched"]) if batch > 1 else draw.choice(["matmul", "gemm", "gemm"])
    bias, turned = draw.random() < 0.5, draw.random() < 0.4
    kind = "1 row" if m == 1 else "2-16 rows" if m <= 16 else "more rows"
    weights, label = [], f"{form} {batch}x{m}x{k}x{n}"
    if form == "gemm":
        m *= batch
        x, y, label = [m, k], [m, n], f"gemm {m}x{k}x{n}"
        if draw.random() < 0.2:
            x, kind, label = [k, m], "transposed input", label + " xT"
        weights.append(constant("w", [n, k] if turned else [k, n], rng))
        weights += [constant("b", [n], rng)] if bias else []
        names = ["x", "w"] + ["b"] * bias
        nodes = [helper.make_node("Gemm", names, ["y"], transA=int(x[0] == k and x != [m, k]), transB=int(turned))]
        return label + " wT" * turned + " +b" * bias, kind, m * k * n, model(nodes, x, y, weights), x
    of_batch = form == "batched"
    x, y = [batch, m, k] if batch > 1 else [m, k], [batch, m, n] if batch > 1 else [m, n]
    weights.append(constant("w", [batch, k, n] if of_batch else [k, n], rng))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p" if bias else "y"])]
    if bias:
        weights.append(constant("b", [n], rng))
        nodes.append(helper.make_node("Add", ["p", "b"], ["y"]))
    kind = "batched weights" if of_batch else kind
    return label + " +b" * bias, kind, batch * m * k * n, model(nodes, x, y, weights), x


def conv(draw, rng):
    """A label, a kind, multiply-adds, a model and the shape of its input."""
    while True:
        kernel, stride = draw.choice([1, 1, 3, 3, 3, 5, 7]), draw.choice([1, 1, 1, 2, 2, 3])
        groups = draw.choice(["one", "one", "one", "depthwise", "several"])
        size = [between(draw, 5, 160), between(draw, 5, 160)]
        inputs, outputs = between(draw, 1, 512), between(draw, 2, 512)
        n_groups = 1
        if groups == "depthwise":
            n_groups = outputs = inputs
        elif groups == "several":
            n_groups = draw.choice([2, 3, 4, 8])
            inputs, outputs = -(-inputs // n_groups) * n_groups, -(-outputs // n_groups) * n_groups
        dilation = 2 if kernel == 3 and draw.random() < 0.1 else 1
        pad = draw.choice([kernel // 2 * dilation, kernel // 2 * dilation, 0])
        batch = draw.choice([1, 1, 1, between(draw, 2, 6)])
        out = [(extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for extent in size]
        work = batch * out[0] * out[1] * outputs * inputs // n_groups * kernel * kernel
        low = WORK[0] / 8 if groups == "depthwise" else WORK[0]
        if min(out) >= 1 and inputs > 1 and low <= work <= WORK[1] and batch * inputs * size[0] * size[1] <= 1 << 23:
            break
    bias = draw.random() < 0.7
    weights = [constant("w", [outputs, inputs // n_groups, kernel, kernel], rng)]
    weights += [constant("b", [outputs], rng)] if bias else []
    node = helper.make_node(
        "Conv",
        ["x", "w"] + ["b"] * bias,
        ["y"],
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[pad] * 4,
        dilations=[dilation] * 2,
        group=n_groups,
    )
    x, y = [batch, inputs, *size], [batch, outputs, *out]
    kind = f"{groups} {kernel}x{kernel}" if groups == "depthwise" else f"{kernel}x{kernel}" if n_groups == 1 else "groups"
    kind += "" if groups != "one" or stride == 1 else " strided"
    kind = "dilated" if dilation > 1 and groups == "one" else kind
    label = f"{batch}x{inputs}x{size[0]}x{size[1]} -> {outputs}, {kernel}x{kernel} s{stride} p{pad} d{dilation} g{n_groups}"
    return label + " +b" * bias, kind, work, model([node], x, y, weights), x


def measure(case, peer, ic, args, folder):
    label, kind, work, proto, shape = case
    onnx.save(proto, f"{folder}/case.onnx")
    rng = np.random.default_rng(len(label))
    np.savez(f"{folder}/in.npz", x=rng.standard_normal(shape).astype("f4"))
    peer.load(f"{folder}/case.onnx", f"{folder}/in.npz", True)
    ic.load(f"{folder}/case.onnx", f"{folder}/in.npz", {})
    ic.expected_ms = None
    theirs, ours = [], []
    for turn in range(args.rounds):
        for contestant, times in [(peer, theirs), (ic, ours)][:: 1 if turn % 2 else -1]:
            times.append(contestant.burst(args.burst))
    wrong = error(ic.outputs(), peer.outputs())
    return {
        "label": label,
        "kind": kind,
        "work": work,
        "ic_ms": min(ours),
        "onnxruntime_ms": min(theirs),
        "ratio": min(ours) / min(theirs),
        "gflops": 2e-6 * work / min(ours),
        "error": wrong,
    }


def summary(name, rows):
    ratios = sorted(row["ratio"] for row in rows)
    p95 = ratios[min(len(ratios) - 1, math.ceil(0.95 * len(ratios)) - 1)]
    return f"{name:<20} {len(rows):>4} {geometric_mean(ratios):>8.3f} {p95:>8.3f} {ratios[-1]:>8.3f}"


def report(family, rows):
    print(f"\n{family:<20} {'n':>4} {'geomean':>8} {'p95':>8} {'worst':>8}")
    print(summary("all", rows))
    for kind in sorted({row["kind"] for row in rows}):
        print(summary("  " + kind, [row for row in rows if row["kind"] == kind]))
    print(f"\nworst {family}: ratio, ic and ONNX Runtime in ms, GFLOP/s of ic")
    for row in sorted(rows, key=lambda row: -row["ratio"])[:20]:
        print(f"  {row['ratio']:6.3f} {row['ic_ms']:9.4f} {row['onnxruntime_ms']:9.4f} {row['gflops']:7.1f}  {row['label']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ic")
    parser.add_argument("--gemms", type=int, default=200)
    parser.add_argument("--convs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--burst", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose kind or label has this text")
    parser.add_argument("--json")
    args = parser.parse_args()
    found, failed = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        peer, ic = Peer("onnxruntime", args.threads), Ic(args.ic, args.threads, folder)
        for family, make, n in [("products", gemm, args.gemms), ("convolutions", conv, args.convs)]:
            rows = found[family] = []
            for index in range(n):
                # A case depends on the seed and its own number alone.
                draw, rng = random.Random(f"{args.seed} {family} {index}"), np.random.default_rng([args.seed, index])
                case = make(draw, rng)
                if args.only not in case[0] and args.only not in case[1]:
                    continue
                try:
                    row = measure(case, peer, ic, args, folder)
                except Failed as why:
                    row = {"label": case[0], "error": str(why)}
                print(f"{row.get('ratio', math.nan):6.3f}  {family} {case[1]}: {row['label']}", file=sys.stderr, flush=True)
                if isinstance(row["error"], str) or row["error"] > TOLERANCE:
                    print(f"WRONG {row['label']}: {row['error']}")
                    failed += 1
                if "ratio" in row:
                    rows.append(row)
        peer.close()
    for family, rows in found.items():
        if rows:
            report(family, rows)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
