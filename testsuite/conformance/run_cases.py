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


def load(path, kind):
    data = path.read_bytes()
    if kind == "sequence":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def is_random(name):
    return name.startswith(("test_bernoulli", "test_training_dropout")) and "zero_ratio" not in name


def as_expected(name, got, want, rtol, atol):
    """Whether an output is right: what is drawn at random by type and shape, decoded images within 2 levels."""
    if isinstance(want, np.ndarray) and isinstance(got, np.ndarray) and got.shape == want.shape and got.dtype == want.dtype:
        if is_random(name):
            return True
        if name.startswith("test_image_decoder"):
            return int(np.abs(got.astype(int) - want.astype(int)).max()) <= 2
    return close(got, want, rtol, atol)


def close(got, want, rtol, atol):
    if got is None or want is None:
        return got is want
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(close(g, w, rtol, atol) for g, w in zip(got, want))
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if want.dtype.kind in "OSU":
        text = lambda a: [x.decode() if isinstance(x, bytes) else str(x) for x in a.ravel().tolist()]
        return text(got) == text(want)
    if want.dtype.kind in "biu":
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
                index = int(expected.stem.split("_")[1])
                kind = meta["outputs"][index] if "outputs" in meta else "tensor"
                got, want = (load(d / expected.name, kind) for d in (out, data))
                if not as_expected(case.name, got, want, meta["rtol"], meta["atol"]):
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
