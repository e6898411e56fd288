"""Latency of `ic` and of other runtimes, side by side.

usage: bench.py IC FOLDER [CASE…] [--peers P,…] [--threads N,…] [--rounds R] [--burst SECONDS] [--dynamic] [--json OUT.json]

FOLDER has a folder for each case, CASE/, with
    model.onnx
    inputs.npz        inputs by name
    expected.npz      outputs by name; without it, ONNX Runtime's without optimizations are compared with
    options           more arguments of `ic compile`, such as --quantize w8
    tolerance         largest error as a share of an output's scale [default: 1e-3]
A case that is named runs; without names all do. `classes.txt` says which class a case belongs to. Every runtime knows the
extents of the inputs when it loads the model, except with --dynamic, and has a process of its own. Bursts of runs alternate
in an order that rotates, so that noise falls on all alike; after them outputs are compared.

Prints for each case and number of threads the median and the least latency over rounds; the ratio of `ic` to each peer, the
median over rounds with an interval that holds it with 95%; and how near `ic` comes to the limit of this machine, measured in
the same rounds: the time that its kernels would take at the peak of multiply-adds or the bandwidth of the memory that holds
their operands, over the time that they took. At the end, geometric means by class. Fails if an output of `ic` is off by more than the tolerance and twice what ONNX Runtime's is.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from measure import HERE, Failed, Ic, Peer, error, geometric_mean, installed, median_interval, rounds
from peers import ONE_THREAD, PEERS, symbols

TOLERANCE = 1e-3


def classes():
    found = {}
    for line in (HERE / "classes.txt").read_text().splitlines():
        name, colon, cases = line.partition(":")
        if colon and not line.startswith("#"):
            found.update((case, name) for case in cases.split())
    return found


def class_of(case, table):
    fitting = [name for name in table if case.startswith(name)]
    return table[max(fitting, key=len)] if fitting else "other"


def reference(folder):
    """What outputs should be, by name."""
    expected = folder / "expected.npz"
    if expected.exists():
        return dict(np.load(expected))
    peer = Peer("reference", 1)
    try:
        peer.load(folder / "model.onnx", folder / "inputs.npz", False)
        return peer.outputs()
    finally:
        peer.close()


def started(case, threads, args, scratch):
    """The contestants that have loaded the case, and why, of the others."""
    model, inputs = case / "model.onnx", case / "inputs.npz"
    feeds = dict(np.load(inputs))
    dims = {} if args.dynamic else symbols(model, feeds)
    options = (case / "options").read_text().split() if (case / "options").exists() else []
    ready, failed = [], {}
    for name in ["ic", *(peer for peer in args.peers if threads == 1 or peer not in ONE_THREAD)]:
        contestant = Ic(args.ic, threads, scratch) if name == "ic" else Peer(name, threads)
        try:
            if name == "ic":
                contestant.load(model, inputs, dims, options)
            else:
                contestant.load(model, inputs, not args.dynamic)
            contestant.burst(0)
            ready.append(contestant)
        except Failed as why:
            failed[name] = str(why)
            contestant.close()
    return ready, failed


def measure(case, threads, args):
    """A row of the report."""
    with tempfile.TemporaryDirectory() as scratch:
        contestants, failed = started(case, threads, args, scratch)
        try:
            times, late = rounds(contestants, args.rounds, args.burst)
            failed.update(late)
            want, errors = reference(case), {}
            for contestant in contestants:
                if contestant.name in times:
                    errors[contestant.name] = error(contestant.outputs(), want)
            profile = contestants[0].bench(5, "--profile") if "ic" in times else {}
        except Failed as why:
            return {"threads": threads, "failed": {**failed, "reference": str(why)}}
        finally:
            for contestant in contestants:
                contestant.close()
    tolerance = float((case / "tolerance").read_text()) if (case / "tolerance").exists() else TOLERANCE
    row = {"threads": threads, "failed": failed, "error": errors, "tolerance": tolerance, "ms": {}, "ratio": {}}
    for name, list_ in times.items():
        row["ms"][name] = {"median": float(np.median(list_)), "min": min(list_)}
        if name != "ic" and "ic" in times:
            middle, low, high = median_interval([ours / theirs for ours, theirs in zip(times["ic"], list_)])
            row["ratio"][name] = {"median": middle, "low": low, "high": high}
    if row["ratio"]:
        best = min(row["ratio"], key=lambda name: row["ms"][name]["median"])
        row["best"] = best
    for key in ("limits", "limit_ms", "flops", "bytes"):
        if profile.get(key) is not None:
            row[key] = profile[key]
    return row


def show(case, row):
    print(f"{case}, {row['threads']} thread{'s' * (row['threads'] > 1)}")
    for name, ms in row.get("ms", {}).items():
        line = f"  {name:<12} {ms['median']:>10.4f} ms, least {ms['min']:>10.4f}"
        if name in row["ratio"]:
            ratio = row["ratio"][name]
            line += f", ic takes {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) of it"
        elif "limit_ms" in row:
            line += f", {100 * row['limit_ms'] / ms['min']:.0f}% of the limit"
        wrong = row["error"].get(name)
        if isinstance(wrong, str) or wrong > row["tolerance"]:
            line += f"; outputs differ: {wrong if isinstance(wrong, str) else f'{wrong:.1e}'}"
        print(line, flush=True)
    for name, why in row["failed"].items():
        print(f"  {name:<12} {why}", flush=True)


def summary(rows):
    """Geometric means of the ratios by class, number of threads and peer."""
    groups = {}
    for row in rows:
        for peer, ratio in row.get("ratio", {}).items():
            for key in (row["class"], "all"):
                groups.setdefault((key, row["threads"], peer), []).append(ratio["median"])
                if peer == row["best"]:
                    groups.setdefault((key, row["threads"], "best of them"), []).append(ratio["median"])
    found = [
        {"class": c, "threads": t, "peer": peer, "cases": len(ratios), "ratio": geometric_mean(ratios)}
        for (c, t, peer), ratios in groups.items()
    ]
    return sorted(found, key=lambda row: (row["class"] == "all", row["class"], row["threads"], row["peer"]))


def is_wrong(row):
    """Where a model rounds to integers, ONNX Runtime's optimizations move its outputs too."""
    errors = row.get("error", {})
    found, theirs = errors.get("ic", "did not run"), errors.get("onnxruntime", 0.0)
    return isinstance(found, str) or found > max(row["tolerance"], 0.0 if isinstance(theirs, str) else 2 * theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ic")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--peers", default=",".join(name for name in PEERS if name != "reference"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--burst", type=float, default=0.25, help="seconds of runs in a burst")
    parser.add_argument("--dynamic", action="store_true", help="keep symbolic extents symbolic")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    wanted = args.peers.split(",")
    args.peers = installed(wanted)
    for name in set(wanted) - set(args.peers):
        print(f"{name} is not installed", file=sys.stderr)
    cases = args.cases or sorted(path.parent.name for path in args.folder.glob("*/model.onnx"))
    table, rows = classes(), []
    for case in cases:
        for threads in map(int, args.threads.split(",")):
            row = {"case": case, "class": class_of(case, table), **measure(args.folder / case, threads, args)}
            rows.append(row)
            show(case, row)
            if args.json:
                args.json.write_text(json.dumps({"cases": rows, "classes": summary(rows)}, indent=1))
    print(f"\n{'class':<14} {'threads':>7}  {'peer':<14} {'cases':>5} {'ratio':>7}")
    for row in summary(rows):
        print(f"{row['class']:<14} {row['threads']:>7}  {row['peer']:<14} {row['cases']:>5} {row['ratio']:>7.3f}")
    wrong = [f"{row['case']} ({row['threads']})" for row in rows if is_wrong(row)]
    if wrong:
        sys.exit(f"ic is wrong or does not run: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
