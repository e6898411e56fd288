"""Run `ic` on dumped ONNX backend cases, as a user would, and compare with the expected outputs.

usage: run_cases.py CASES IC VARIANT REFUSED [ONLY]

VARIANT is `plain`, `dynamic`, which makes every extent of every input symbolic, `constant`, which makes tensors of every
input, or `gpu`, which compiles for NVIDIA GPUs (IC_TARGET names another than nvptx:sm_80) and runs on the emulated one
(IC_DEVICE names another). REFUSED lists the cases that are refused, one a line. A listed case that passes and an unlisted one that does not fail the run (IC_BLESS=1
rewrites the list), and so do wrong results and crashes.
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

COMPILE = {"gpu": ["--target", os.environ.get("IC_TARGET", "nvptx:sm_80")]}
# On matrix units, sums of 16-bit floats have an order of their own, and weights of attention are rounded before they are
# multiplied: results may differ by the last bit of the largest.
ULPS = {"float16": 2**-10, "bfloat16": 2**-7}
RUN = {"gpu": ["--device", os.environ.get("IC_DEVICE", "emulated-cuda")]}


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


def tensors_of(model):
    """The inputs that are tensors and have no value of their own, with their places."""
    values = {tensor.name for tensor in model.graph.initializer}
    inputs = enumerate(list(model.graph.input))
    return [(i, v) for i, v in inputs if v.name not in values and v.type.HasField("tensor_type")]


def make_dynamic(model):
    for _, value in tensors_of(model):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.Clear()
            dim.dim_param = f"{value.name}_{axis}"


def make_constant(model, data):
    """Gives inputs their values; returns the places of those that are left."""
    places = list(range(len(model.graph.input)))
    for i, value in tensors_of(model):
        file = data / f"input_{i}.pb"
        if file.is_file():
            tensor = onnx.TensorProto.FromString(file.read_bytes())
            tensor.name = value.name
            model.graph.initializer.append(tensor)
            model.graph.input.remove(value)
            places.remove(i)
    return places


def variants(case, variant, folder):
    """Models, each with the folders of its inputs and of its expected outputs."""
    sets = sorted(case.glob("test_data_set_*"))
    if variant in ("plain", "gpu"):
        return [(case / "model.onnx", [(data, data) for data in sets])]
    model = onnx.load(case / "model.onnx")
    del model.graph.value_info[:]
    if variant == "dynamic":
        make_dynamic(model)
        onnx.save(model, pathlib.Path(folder, "dynamic.onnx"))
        return [(pathlib.Path(folder, "dynamic.onnx"), [(data, data) for data in sets])]
    models = []
    for data in sets:
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        places = make_constant(changed, data)
        inputs = pathlib.Path(folder, f"{data.name}_inputs")
        inputs.mkdir()
        for new, old in enumerate(places):
            file = data / f"input_{old}.pb"
            if file.is_file():
                (inputs / f"input_{new}.pb").write_bytes(file.read_bytes())
        path = pathlib.Path(folder, f"{data.name}.onnx")
        onnx.save(changed, path)
        models.append((path, [(inputs, data)]))
    return models


def check(case, binary, variant):
    with tempfile.TemporaryDirectory() as folder:
        for model, sets in variants(case, variant, folder):
            verdict = check_model(case, binary, variant, model, sets)
            if verdict != "pass":
                return verdict
    return "pass"


def check_model(case, binary, variant, model, sets):
    meta = json.loads((case / "case.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder, "model.ica")
        failure = ic(binary, "compile", model, "-o", artifact, *COMPILE.get(variant, []))
        if failure:
            return failure
        for inputs, data in sets:
            out = pathlib.Path(folder, data.name)
            failure = ic(binary, "run", artifact, "--inputs", inputs, "--outputs", out, *RUN.get(variant, []))
            if failure:
                return failure
            for expected in data.glob("output_*.pb"):
                index = int(expected.stem.split("_")[1])
                kind = meta["outputs"][index] if "outputs" in meta else "tensor"
                got, want = (load(d / expected.name, kind) for d in (out, data))
                atol = meta["atol"]
                if variant == "gpu" and isinstance(want, np.ndarray) and want.dtype.name in ULPS and want.size:
                    finite = np.nan_to_num(want.astype(np.float64), posinf=0.0, neginf=0.0)
                    atol = ULPS[want.dtype.name] * float(np.abs(finite).max())
                if not as_expected(case.name, got, want, meta["rtol"], atol):
                    return "wrong"
    return "pass"


def main():
    root, binary, variant, listed = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4])
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    cases = sorted(p.parent for p in root.rglob("model.onnx") if only in str(p.parent.relative_to(root)))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda case: check(case, binary, variant), cases)
        verdicts = dict(zip((str(case.relative_to(root)) for case in cases), found))
    count = collections.Counter(verdicts.values())
    others = ", ".join(f"{n} {v}" for v, n in sorted(count.items()) if v != "pass")
    print(f"{variant}: {count['pass']} of {len(cases)} pass; {others}")
    refused = [name for name, verdict in verdicts.items() if verdict == "refused"]
    if os.environ.get("IC_BLESS") and not only:
        listed.write_text("\n".join(refused) + "\n")
    expected = {name for name in listed.read_text().split() if only in name}
    problems = [f"{verdicts.get(n, 'missing')} but listed as refused: {n}" for n in sorted(expected - set(refused))]
    problems += [f"refused but not listed: {n}" for n in sorted(set(refused) - expected)]
    problems += [f"{v}: {n}" for n, v in verdicts.items() if v in ("wrong", "crashed", "slow")]
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
