"""Compare the kernels that `ic` makes of two spellings of one computation.

usage: compare_pairs.py CASES IC DIFFERING COUNTS [ONLY]

The ONNX backend suite has many cases twice: with an op, and with the nodes of the function that defines the op
(`..._expanded`). DIFFERING lists the pairs, by the expanded case, whose `ic compile --emit kernels` differ. A listed pair
that agrees and an unlisted one that does not fail the run, and so does a refusal of one side alone. COUNTS says for each op
how many of its pairs agree, and how many cases have how many kernels; another table fails the run. IC_BLESS=1 rewrites both.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def kernels(binary, model):
    """The kernels of a model as text, or None if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder, "kernels")
        args = ["compile", model, "-o", pathlib.Path(folder, "model.ica"), "--target", "x86-64-v3", f"--emit=kernels={text}"]
        done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=120)
        return text.read_text() if done.returncode == 0 else None


def op_of(case):
    """The op of a case, roughly: what its name starts with."""
    name = re.sub(r"^test_", "", case)
    return re.match(r"[a-z]+(?:_(?:attention|normalization|embedding|equal|log_sum_exp|crop_pad|map|grid))?", name)[0]


def main():
    root, binary, listed, counted = pathlib.Path(sys.argv[1]), sys.argv[2], *map(pathlib.Path, sys.argv[3:5])
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    expanded = sorted(p.parent for p in root.rglob("model.onnx") if "_expanded" in p.parent.name and only in p.parent.name)
    pairs = [(case.with_name(case.name.split("_expanded")[0]), case) for case in expanded]
    pairs = [(compact, case) for compact, case in pairs if compact.is_dir()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lambda pair: [kernels(binary, case / "model.onnx") for case in pair], pairs))
    problems, differing = [], []
    table = collections.defaultdict(lambda: [0, 0, collections.Counter()])
    for (compact, case), (one, other) in zip(pairs, texts):
        if (one is None) != (other is None):
            problems.append(f"refused on one side: {case.name}")
        row = table[op_of(case.name)]
        row[0] += 1
        row[1] += one == other
        row[2].update(len(re.findall(r"^s0:", text, re.M)) for text in (one, other) if text is not None)
        if one != other:
            differing.append(case.name)
    lines = []
    for op, (n, same, counts) in sorted(table.items()):
        cases = ", ".join(f"{count} in {cases}" for count, cases in sorted(counts.items()))
        lines.append(f"{op}: {same} of {n} pairs agree; kernels: {cases} cases")
    print("\n".join(lines))
    print(f"{len(pairs) - len(differing)} of {len(pairs)} pairs agree")
    if os.environ.get("IC_BLESS") and not only:
        listed.write_text("\n".join(differing) + "\n")
        counted.write_text("\n".join(lines) + "\n")
    if not only:
        known = counted.read_text().splitlines()
        problems += [f"not in {counted.name}: {line}" for line in lines if line not in known]
        problems += [f"no longer so: {line}" for line in known if line not in lines]
    expected = {name for name in listed.read_text().split() if only in name}
    problems += [f"agree but listed as differing: {name}" for name in sorted(expected - set(differing))]
    problems += [f"differ but not listed: {name}" for name in differing if name not in expected]
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
