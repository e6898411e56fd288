"""Run `ic` on dumped ONNX backend cases, as a user would, and compare with the expected outputs.

usage: run_cases.py CASES IC EXPECTED [ONLY]

EXPECTED lists the cases that pass, one a line. A listed case that does not pass and an unlisted one that passes fail
the run (IC_BLESS=1 rewrites the list), and so do wrong results and crashes.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper


def ic(binary, *args):
    """None if the command succeeds, else how it failed."""
    try:
        done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return "slow"
    if done.returncode == 0:
        return None
    return "refused" if done.returncode == 1 and "panicked" not in done.stderr else "crashed"


def close(got, want, rtol, atol):
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if want.dtype.kind in "OSUbiu":
        return np.array_equal(got, want)
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    return np.allclose(got.astype(wide), want.astype(wide), rtol=rtol, atol=max(atol, 1e-7), equal_nan=True)


def check(case, binary):
    meta = json.loads((case / "case.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder, "model.ica")
        failure = ic(binary, "compile", case / "model.onnx", "-o", artifact)
        if failure:
            return failure
        for data in sorted(case.glob("test_data_set_*")):
            out = pathlib.Path(folder, data.name)
            failure = ic(binary, "run", artifact, "--inputs", data, "--outputs", out)
            if failure:
                return failure
            for expected in data.glob("output_*.pb"):
                tensors = [onnx.TensorProto.FromString((d / expected.name).read_bytes()) for d in (out, data)]
                got, want = map(numpy_helper.to_array, tensors)
                if not close(got, want, meta["rtol"], meta["atol"]):
                    return "wrong"
    return "pass"


def main():
    root, binary, listed = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    only = sys.argv[4] if len(sys.argv) > 4 else ""
    cases = sorted(p.parent for p in root.rglob("model.onnx") if only in str(p.parent.relative_to(root)))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = dict(zip((str(c.relative_to(root)) for c in cases), pool.map(lambda c: check(c, binary), cases)))
    count = collections.Counter(verdicts.values())
    print(f"{count['pass']} of {len(cases)} pass; " + ", ".join(f"{n} {v}" for v, n in sorted(count.items()) if v != "pass"))
    passing = [name for name, verdict in verdicts.items() if verdict == "pass"]
    if os.environ.get("IC_BLESS"):
        if not only:
            listed.write_text("\n".join(passing) + "\n")
        return
    expected = {name for name in listed.read_text().split() if only in name}
    problems = [f"{verdicts.get(n, 'missing')}: {n}" for n in sorted(expected - set(passing))]
    problems += [f"passes but is not listed: {n}" for n in sorted(set(passing) - expected)]
    problems += [f"{v}: {n}" for n, v in verdicts.items() if v in ("wrong", "crashed", "slow") and n not in expected]
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
