#!/usr/bin/env python3
"""Every kernel of models through NVIDIA's assembler, without a GPU: none may spill a register or bring a warning.

usage: ptxas.py IC MODEL... [--targets sm_80,sm_89,sm_90a,sm_100a] [--precisions f32,f16]

MODEL is what `ic compile` takes. `IC_PTXAS` names the assembler, else PATH is searched: `pip install
nvidia-cuda-nvcc-cu12==12.9.86` brings it as site-packages/nvidia/cuda_nvcc/bin/ptxas.
Prints for each model, precision and target how many kernels there are, the most registers and bytes of shared memory of
one, and what is wrong; fails if anything is.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile


def modules(ic, model, precision, targets, folder):
    """The text of each target's module. GPUs with products of warpgroups have kernels of their own."""
    arguments = [ic, "compile", model, "-o", f"{folder}/model.ica", "--precision", precision, "--emit", "ptx"]
    for target in targets:
        arguments += ["--target", f"nvptx:{target}"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{model}: {done.stderr}")
    # What has been written is told after the text.
    texts = re.split(r"(?m)^(?=\.version)", done.stdout[: done.stdout.rindex("}") + 1])[1:]
    return [(re.search(r"^\.target (\w+)", text, re.M)[1], text) for text in texts]


def assemble(ptxas, text, target, folder):
    """Kernels, the most registers, the most shared memory, and complaints."""
    path = f"{folder}/module.ptx"
    with open(path, "w") as file:
        file.write(text)
    command = [ptxas, "-v", "-warn-spills", f"-arch={target}", path, "-o", f"{folder}/module.cubin"]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode:
        return 0, 0, 0, [said.strip()]
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    complaints = [line for line in said.splitlines() if "warning" in line]
    complaints += [f"a kernel spills {store} bytes" for store, load in spills if (store, load) != ("0", "0")]
    if len(spills) != text.count(".entry"):
        complaints.append(f"{len(spills)} of {text.count('.entry')} kernels are reported")
    largest = lambda pattern: max(map(int, re.findall(pattern, said)), default=0)
    return len(spills), largest(r"Used (\d+) registers"), largest(r"(\d+) bytes smem"), complaints


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ic")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--targets", default="sm_80,sm_89,sm_90a,sm_100a")
    parser.add_argument("--precisions", default="f32,f16")
    options = parser.parse_args()
    ptxas = os.environ.get("IC_PTXAS") or shutil.which("ptxas") or sys.exit("no ptxas in IC_PTXAS or PATH")
    targets = options.targets.split(",")
    groups = [[t for t in targets if t != "sm_90a"], [t for t in targets if t == "sm_90a"]]
    print(f"{'model':40} {'precision':9} {'target':8} {'kernels':>7} {'registers':>9} {'shared':>7}")
    is_bad, total = False, 0
    for model in options.models:
        name = "/".join(os.path.abspath(model).split("/")[-2:])
        for precision in options.precisions.split(","):
            with tempfile.TemporaryDirectory() as folder:
                for group in filter(None, groups):
                    for target, text in modules(options.ic, model, precision, group, folder):
                        count, registers, shared, complaints = assemble(ptxas, text, target, folder)
                        print(f"{name:40} {precision:9} {target:8} {count:7} {registers:9} {shared:7}", flush=True)
                        print("".join(f"    {line}\n" for line in complaints), end="", flush=True)
                        is_bad, total = is_bad or bool(complaints), total + count
    print(f"{total} kernels, {'with complaints' if is_bad else '0 spills, 0 warnings'}")
    sys.exit(is_bad)


main()
