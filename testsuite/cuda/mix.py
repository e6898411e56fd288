#!/usr/bin/env python3
"""The machine code of `ic`'s kernels beside that of Triton's for the same problems, without a GPU: a Markdown table.

usage: mix.py IC [--targets sm_80,sm_90a] [--only NAME] [--keep DIR]

Needs a Python with `triton`, and NVIDIA's assembler and disassembler, which IC_PTXAS and IC_NVDISASM name or PATH has:
`pip install triton nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm`. Both compilers' PTX goes through that assembler.

Of the kernel that does a problem's work (of several, that with the largest share on tensor cores) the table says
  registers, shared memory and bytes spilled, and how many warps of it a multiprocessor holds,
  the instructions of the main loop by class: the innermost loop with the most work on tensor cores,
  issued instructions of a warp other than tensor cores' for each 1,000 FLOPs of that warp on them,
  bytes of shared memory read and written for each of these, operands that tensor cores read there included,
  how wide accesses of global memory are.
Where there are no tensor cores in it, instructions are those of the whole kernel, for each element of the problem.
Triton's row is that of the configuration, among common ones, with the fewest such instructions that does not spill.
`--keep` leaves PTX and machine code in a folder.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CLASSES = {
    "matrix loads": "LDSM STSM LDS STS MOVM",
    "copies": "LDGSTS UTMALDG LDG STG LD ST",
    "waits": "BAR SYNCS DEPBAR LDGDEPBAR WARPSYNC WARPGROUP MEMBAR FENCE",
    "mufu": "MUFU",
    "floats": "FFMA FADD FMUL FMNMX FMNMX3 FSEL FSETP HFMA2 HADD2 HMUL2 HMNMX2 F2FP F2F I2F I2FP F2I HSETP2",
    "shuffles": "SHFL REDUX VOTE",
}
CLASS_OF = {name: kind for kind, names in CLASSES.items() for name in names.split()}
# Of the tiles of 128 keys that 128 of 4096 queries see, a causal mask hides parts of one: of 16.5 on average.
CAUSAL_SHARE = 1 / 16.5
# Steps of K with one scale, of which wide tiles have 32 at a time.
GROUP, GROUP_SHARE = 128, 32 / 128
SM_THREADS, SM_REGISTERS = 2048, 65536
SM_SHARED = {"sm_80": 164 << 10, "sm_90a": 228 << 10}


def tool(variable, name):
    return os.environ.get(variable) or shutil.which(name) or sys.exit(f"no {name} in {variable} or PATH")


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Kernel:
    """A kernel's machine code and what the assembler says of it."""

    def __init__(self, name, code, log, target, threads, shared):
        self.name, self.target, self.threads = name, target, threads
        said = log[log.index(f"Function properties for {name}\n") :]
        spill = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
        self.spilled = int(spill[1]) + int(spill[2])
        used = re.search(r"Used (\d+) registers.*", said)[0]
        self.registers = int(re.search(r"Used (\d+)", used)[1])
        static = re.search(r"(\d+) bytes smem", used)
        self.shared = max(shared, int(static[1]) if static else 0)
        rows, labels = [], {}
        for line in code.splitlines():
            if label := re.match(r"(\.L\w+):", line.strip()):
                labels[label[1]] = len(rows)
            elif found := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;", line):
                rows.append((found[2] or "", found[3], found[4]))
        self.rows = [row for row in rows if row[1] != "NOP" and not row[0].startswith("@!PT")]
        kept = [i for i, row in enumerate(rows) if row[1] != "NOP" and not row[0].startswith("@!PT")]
        place = {old: new for new, old in enumerate(kept)}
        self.loops, self.jumps = [], []
        for new, old in enumerate(kept):
            _, op, arguments = rows[old]
            target_label = re.search(r"(\.L\w+)", arguments)
            if op.split(".")[0] == "BRA" and target_label and target_label[1] in labels:
                first = next((place[i] for i in range(labels[target_label[1]], len(rows)) if i in place), None)
                if first is not None and first <= new:
                    self.loops.append((first, new + 1))
                elif first is not None and (rows[old][0] or "P" in arguments.split("`")[0]):
                    self.jumps.append((new + 1, first))

    def main_loop(self):
        """The instructions of the innermost loop with the most work on tensor cores."""
        best = []
        for first, end in sorted(self.loops, key=lambda loop: loop[1] - loop[0]):
            body = self.rows[first:end]
            if flops(body) > flops(best):
                if best and self.rows[self.inner[0] : self.inner[1]] and first <= self.inner[0] and end >= self.inner[1]:
                    continue
                best, self.inner = body, (first, end)
        return best

    def jumped_over(self, loop):
        """The instructions of a loop that a branch within it jumps over."""
        inside = [range(first, end) for first, end in self.jumps if loop[0] <= first and end <= loop[1]]
        return {i for region in inside for i in region}

    def warps(self):
        """How many warps a multiprocessor holds."""
        blocks = SM_THREADS // self.threads
        per_warp = -(-self.registers * 32 // 256) * 256
        blocks = min(blocks, SM_REGISTERS // (per_warp * self.threads // 32))
        blocks = min(blocks, SM_SHARED[self.target] // (self.shared + 1024), 32)
        return blocks * self.threads // 32


def tensor(row):
    """The FLOPs of a warp in an instruction of tensor cores, and the bytes that it reads in shared memory."""
    _, op, arguments = row
    if op.startswith("HMMA"):
        m, n, k = {"16816": (16, 8, 16), "1688": (16, 8, 8)}[op.split(".")[1]]
        return 2 * m * n * k, 0
    if op.startswith("HGMMA"):
        m, n, k = map(int, op.split(".")[1].split("x"))
        in_registers = re.match(r"R\d+\S*, R\d+", arguments)
        return 2 * m * n * k // 4, ((0 if in_registers else m * k) + n * k) * 2 // 4
    return 0, 0


def flops(rows):
    return sum(tensor(row)[0] for row in rows)


def width(op):
    """Bytes of a thread."""
    for part in op.split(".")[1:]:
        if part in ("U8", "S8", "U16", "S16"):
            return int(part[1:]) // 8
        if part in ("64", "128"):
            return int(part) // 8
    return 4


def shared_bytes(row):
    op = row[1]
    base = op.split(".")[0]
    if base in ("LDSM", "STSM"):
        return 128 * int(op[-1] if op[-1].isdigit() else 1)
    if base in ("LDS", "STS", "LDGSTS"):
        return 32 * width(op)
    return tensor(row)[1]


def bulk_bytes(kernel, rows, tile_bytes):
    """What the copy engine writes for each warp, which is not in the instruction."""
    return tile_bytes * 32 // kernel.threads if any(row[1].startswith("UTMALDG") for row in rows) else 0


def summary(kernel, elements, tile_bytes=0, share=1.0):
    """The cells of a row, and by what configurations are compared. What a branch jumps over counts as `share`."""
    rows = kernel.main_loop()
    rare = kernel.jumped_over(kernel.inner) if rows else set()
    count = collections.Counter()
    for row in rows or kernel.rows:
        count["tensor" if tensor(row)[0] else CLASS_OF.get(row[1].split(".")[0], "integers, moves")] += 1
    accesses = [row[1] for row in kernel.rows if row[1].split(".")[0] in ("LDG", "STG", "LDGSTS", "UTMALDG", "UTMASTG")]
    widths = sorted({"bulk" if op.startswith("UTMA") else str(width(op)) for op in accesses}, key=lambda w: (len(w), w))
    mix = ", ".join(f"{count[k]} {k}" for k in ["tensor", *CLASSES, "integers, moves"] if count[k])
    if rows:
        work = flops(rows)
        issued = (len(rows) - count["tensor"] - (1 - share) * len(rare)) / work * 1000
        traffic = (sum(map(shared_bytes, rows)) + bulk_bytes(kernel, rows, tile_bytes)) / work * 1000
        per = [f"{issued:.3f}", f"{traffic:.2f}"]
    else:
        issued = len(kernel.rows) * elements
        per = [f"{issued:.2f}", ""]
    resources = [kernel.registers, f"{kernel.shared / 1024:.0f}", kernel.spilled, kernel.warps()]
    return [*map(str, resources), mix, *per, ", ".join(widths)], issued


def assembled(ptxas, nvdisasm, text, target, folder, name):
    """The kernels of a module, as the assembler reports them, with the code of each."""
    path = pathlib.Path(folder, f"{name}.{target}.ptx")
    path.write_text(text)
    cubin = path.with_suffix(".cubin")
    log = run(ptxas, "-v", f"-arch={target}", path, "-o", cubin)
    code = run(nvdisasm, "-c", cubin)
    path.with_suffix(".sass").write_text(code)
    found = {}
    for section in re.split(r"(?m)^\s*\.section\s+\.text\.", code)[1:]:
        found[re.match(r"[\w$]+", section)[0]] = section
    return log, found


# ------------------------------------------------------------------------------------------------------------ problems

def product(m, n, k):
    return f"""graph @product(%a: f16[{m}, {k}], %b: f16[{k}, {n}]) {{
  %0 = matmul(%a, %b) : f16[{m}, {n}]
  return "y" = %0
}}
"""


def widened(m, n, k):
    """A product with a weight of 4 bits, whose scales are f16."""
    return f"""graph @widened(%a: f16[{m}, {k}]) {{
  %q = constant() {{value = i4[{k}, {n}] splat 3}} : i4[{k}, {n}]
  %s = constant() {{value = f16[{k // GROUP}, {n}] splat 1}} : f16[{k // GROUP}, {n}]
  %w = dequantize(%q, %s) {{axis = 0, block_size = {GROUP}, to = f16}} : f16[{k}, {n}]
  %0 = matmul(%a, %w) : f16[{m}, {n}]
  return "y" = %0
}}
"""


def attention(causal):
    options = "{scale = 0.08838834764, causal = 0}" if causal else "{scale = 0.08838834764}"
    return f"""graph @attention(%q: f16[16, 4096, 128], %k: f16[16, 4096, 128], %v: f16[16, 4096, 128]) {{
  %0 = attention(%q, %k, %v) {options} : f16[16, 4096, 128]
  return "y" = %0
}}
"""


SOFTMAX = """graph @softmax(%x: f16[65536, 1024]) {
  %0 = softmax(%x) {axis = 1} : f16[65536, 1024]
  return "y" = %0
}
"""
NORM = """graph @norm(%x: f16[8192, 4096], %scale: f16[4096], %bias: f16[4096]) {
  %0 = layer_normalization(%x, %scale, %bias) : f16[8192, 4096]
  return "y" = %0
}
"""


def triton_kernels():
    import triton
    import triton.language as tl

    # The rows and columns of a program: eight rows of tiles at a time, so that what they share stays in the cache.
    @triton.jit
    def swizzled(M: tl.constexpr, N: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
        pid = tl.program_id(0)
        per_group = 8 * (N // BN)
        group = pid // per_group
        size = min((M + BM - 1) // BM - group * 8, 8)
        row = (group * 8 + (pid % per_group) % size) * BM + tl.arange(0, BM)
        column = (pid % per_group) // size * BN + tl.arange(0, BN)
        return row, column

    @triton.jit
    def gemm(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
        row, column = swizzled(M, N, BM, BN)
        depth = tl.arange(0, BK)
        a += row[:, None] * K + depth[None, :]
        b += depth[:, None] * N + column[None, :]
        acc = tl.zeros((BM, BN), tl.float32)
        for _ in range(0, K, BK):
            acc = tl.dot(tl.load(a), tl.load(b), acc)
            a += BK
            b += BK * N
        tl.store(c + row[:, None] * N + column[None, :], acc.to(tl.float16))

    # Two integers of each of four bytes to f16: below the leading bit of 1024, from which 1032 is taken off.
    spread = tl.constexpr("""{
        .reg .b32 even, odd, less, by, high_less;
        mov.b32 less, 0x64086408;
        mov.b32 by, 0x2c002c00;
        mov.b32 high_less, 0xd480d480;
        prmt.b32 even, $4, 0, 0x4140;
        prmt.b32 odd, $4, 0, 0x4342;
        lop3.b32 $0, even, 0x000f000f, 0x64006400, 0xea;
        lop3.b32 $1, odd, 0x000f000f, 0x64006400, 0xea;
        lop3.b32 $2, even, 0x00f000f0, 0x64006400, 0xea;
        lop3.b32 $3, odd, 0x00f000f0, 0x64006400, 0xea;
        sub.f16x2 $0, $0, less;
        sub.f16x2 $1, $1, less;
        fma.rn.f16x2 $2, $2, by, high_less;
        fma.rn.f16x2 $3, $3, by, high_less;
    }""")

    @triton.jit
    def halves(byte, WAY: tl.constexpr):
        if WAY == "assembly":
            low, high = tl.inline_asm_elementwise(spread, "=r,=r,=r,=r,r", [byte], (tl.float16, tl.float16), True, 4)
        elif WAY == "bits":
            wide = byte.to(tl.uint16)
            low = ((wide & 15) | 0x6400).to(tl.float16, bitcast=True) - 1032.0
            high = ((wide >> 4) | 0x6400).to(tl.float16, bitcast=True) - 1032.0
        else:
            low = ((byte & 15).to(tl.int8) - 8).to(tl.float16)
            high = ((byte >> 4).to(tl.int8) - 8).to(tl.float16)
        return low, high

    # A byte has one step of the first half of a block of K, and one of the second.
    @triton.jit
    def gemm_widened(a, q, s, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, WAY: tl.constexpr):
        half: tl.constexpr = BK // 2
        row, column = swizzled(M, N, BM, BN)
        depth = tl.arange(0, half)
        a += row[:, None] * K + depth[None, :]
        q += depth[:, None] * N + column[None, :]
        acc = tl.zeros((BM, BN), tl.float32)
        for k in range(0, K, BK):
            scale = tl.load(s + k // 128 * N + column)[None, :]
            low, high = halves(tl.load(q), WAY)
            acc = tl.dot(tl.load(a), low * scale, acc)
            acc = tl.dot(tl.load(a + half), high * scale, acc)
            a += BK
            q += half * N
        tl.store(c + row[:, None] * N + column[None, :], acc.to(tl.float16))

    @triton.jit
    def gemm_bulk(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
        pid = tl.program_id(0)
        per_group = 8 * (N // BN)
        group = pid // per_group
        size = min((M + BM - 1) // BM - group * 8, 8)
        row = (group * 8 + (pid % per_group) % size) * BM
        column = (pid % per_group) // size * BN
        acc = tl.zeros((BM, BN), tl.float32)
        for k in range(0, K, BK):
            acc = tl.dot(a.load([row, k]), b.load([k, column]), acc)
        c.store([row, column], acc.to(tl.float16))

    @triton.jit
    def tile(acc, total, most, q, k, v, first, row, MASK: tl.constexpr, D: tl.constexpr, BN: tl.constexpr, scale: tl.constexpr):
        key = first + tl.arange(0, BN)
        width = tl.arange(0, D)
        scores = tl.dot(q, tl.load(k + key[None, :] * D + width[:, None])) * scale
        if MASK:
            scores = tl.where(row[:, None] >= key[None, :], scores, float("-inf"))
        greatest = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - greatest[:, None])
        change = tl.exp2(most - greatest)
        acc = acc * change[:, None]
        acc = tl.dot(weights.to(tl.float16), tl.load(v + key[:, None] * D + width[None, :]), acc)
        return acc, total * change + tl.sum(weights, 1), greatest

    @triton.jit
    def flash(q, k, v, y, S: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
        scale: tl.constexpr = 0.08838834764 * 1.44269504
        head = tl.program_id(1).to(tl.int64) * S * D
        row = tl.program_id(0) * BM + tl.arange(0, BM)
        width = tl.arange(0, D)
        rows = tl.load(q + head + row[:, None] * D + width[None, :])
        acc = tl.zeros((BM, D), tl.float32)
        total = tl.zeros((BM,), tl.float32)
        most = tl.full((BM,), float("-inf"), tl.float32)
        end = tl.program_id(0) * BM if CAUSAL else S
        for first in range(0, end, BN):
            acc, total, most = tile(acc, total, most, rows, k + head, v + head, first, row, False, D, BN, scale)
        if CAUSAL:
            for first in range(end, end + BM, BN):
                acc, total, most = tile(acc, total, most, rows, k + head, v + head, first, row, True, D, BN, scale)
        tl.store(y + head + row[:, None] * D + width[None, :], (acc / total[:, None]).to(tl.float16))

    @triton.jit
    def softmax(x, y, N: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * N + tl.arange(0, N)
        row = tl.load(x + at).to(tl.float32)
        power = tl.exp(row - tl.max(row, 0))
        tl.store(y + at, (power / tl.sum(power, 0)).to(tl.float16))

    @triton.jit
    def norm(x, scale, bias, y, N: tl.constexpr):
        column = tl.arange(0, N)
        at = tl.program_id(0).to(tl.int64) * N + column
        row = tl.load(x + at).to(tl.float32)
        centered = row - tl.sum(row, 0) / N
        factor = 1 / tl.sqrt(tl.sum(centered * centered, 0) / N + 1e-5)
        result = centered * factor * tl.load(scale + column) + tl.load(bias + column)
        tl.store(y + at, result.to(tl.float16))

    return gemm, gemm_widened, gemm_bulk, flash, softmax, norm


def triton_text(kernel, signature, constants, target, warps, stages):
    """Triton's PTX, its shared memory and its threads."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    types = {name: "constexpr" for name in names} | signature
    pointers = {(names.index(n),): [["tt.divisibility", 16]] for n, ty in signature.items() if ty.startswith("*")}
    source = ASTSource(kernel, types, {(names.index(n),): value for n, value in constants.items()}, pointers)
    arch = int(re.search(r"\d+", target)[0])
    options = {"num_warps": warps, "num_stages": stages}
    done = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    # The assembler may be older than Triton's, and what is here needs no newer one.
    return re.sub(r"(?m)^\.version .*", ".version 8.8", done.asm["ptx"]), done.metadata.shared


def problems():
    """Name, our graph, elements a warp's instruction stands for, and Triton's configurations."""
    gemm, gemm_widened, gemm_bulk, flash, softmax, norm = triton_kernels()
    half = "*fp16"
    for name, m, n, k in [("product 4096³", 4096, 4096, 4096), ("product 8192 × 1024 × 4096", 8192, 1024, 4096), ("product 16 × 4096 × 4096", 16, 4096, 4096)]:
        tiles = [(128, 128, 64, 4, 4), (128, 128, 64, 8, 4), (128, 256, 64, 8, 3), (128, 128, 32, 4, 4)]
        if m == 16:
            tiles = [(16, 64, 128, 4, 4), (16, 128, 64, 4, 4), (16, 32, 128, 2, 5), (16, 64, 64, 2, 5)]
        sizes = dict(M=m, N=n, K=k)
        plain = [(gemm, dict.fromkeys("abc", half), sizes | dict(BM=bm, BN=bn, BK=bk), w, s, "sm_80", 0) for bm, bn, bk, w, s in tiles]
        descriptor = lambda *block: f"tensordesc<fp16{list(block)}>"
        bulk = [
            (gemm_bulk, dict(a=descriptor(bm, bk), b=descriptor(bk, bn), c=descriptor(bm, bn)), sizes | dict(BM=bm, BN=bn, BK=bk), w, s, "sm_90a", (bm + bn) * bk * 2)
            for bm, bn, bk, w, s in tiles
            if m > 16
        ]
        yield name, product(m, n, k), 0, plain + bulk
    for name, m in [("4-bit weights, 4096³", 4096), ("4-bit weights, 16 × 4096 × 4096", 16)]:
        tiles = [(128, 128, 64, 4, 4), (128, 128, 64, 8, 4), (128, 256, 64, 8, 3), (128, 128, 128, 8, 3), (64, 128, 128, 4, 3)]
        if m == 16:
            tiles = [(16, 64, 128, 4, 4), (16, 128, 64, 4, 4), (16, 128, 128, 4, 4), (16, 64, 128, 2, 4), (16, 64, 64, 2, 5)]
        pointers = dict(a=half, q="*u8", s=half, c=half)
        sizes = dict(M=m, N=4096, K=4096)
        ways = ("casts", "bits", "assembly")
        yield name, widened(m, 4096, 4096), 0, [
            (gemm_widened, pointers, sizes | dict(BM=bm, BN=bn, BK=bk, WAY=way), w, s, "sm_80", 0) for bm, bn, bk, w, s in tiles for way in ways
        ]
    for causal in (False, True):
        tiles = [(128, 64, 8, 3), (128, 64, 4, 3), (64, 64, 4, 3), (128, 128, 8, 2)]
        configurations = [(flash, dict.fromkeys("qkvy", half), dict(S=4096, D=128, CAUSAL=causal, BM=bm, BN=bn), w, s, "sm_80", 0) for bm, bn, w, s in tiles]
        yield "attention, d = 128" + (", causal" if causal else ""), attention(causal), 0, configurations
    yield "softmax, rows of 1,024", SOFTMAX, 1024, [(softmax, dict.fromkeys("xy", half), dict(N=1024), w, 1, "sm_80", 0) for w in (1, 2, 4)]
    yield "layer norm, rows of 4,096", NORM, 4096, [(norm, dict(x=half, scale=half, bias=half, y=half), dict(N=4096), w, 1, "sm_80", 0) for w in (4, 8, 16)]


def ours(ic, ptxas, nvdisasm, graph, target, folder, elements):
    source = pathlib.Path(folder, "graph.ic")
    source.write_text(graph)
    text = run(ic, "compile", source, "-o", f"{folder}/graph.ica", "--target", f"nvptx:{target}", "--emit", "ptx")
    text = text[: text.rindex("}") + 1]
    log, code = assembled(ptxas, nvdisasm, text, target, folder, "ic")
    kernels = []
    for name, section in code.items():
        body = text[text.index(f".entry {name}(") :]
        threads = int(re.search(r"\.maxntid (\d+)", body)[1])
        dynamic = re.search(r"// (\d+) bytes of shared memory", body[: body.find(".entry", 1)])
        kernels.append(Kernel(name, section, log, target, threads, int(dynamic[1]) if dynamic else 0))
    return max(kernels, key=lambda kernel: (flops(kernel.rows), len(kernel.rows))), len(kernels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ic")
    parser.add_argument("--targets", default="sm_80,sm_90a")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    options = parser.parse_args()
    ptxas, nvdisasm = tool("IC_PTXAS", "ptxas"), tool("IC_NVDISASM", "nvdisasm")
    header = ["", "registers", "shared, KiB", "spilled", "warps", "instructions", "per 1,000 FLOPs", "bytes", "widths"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or scratch
        os.makedirs(folder, exist_ok=True)
        for target in options.targets.split(","):
            print(f"\n| {target} {' | '.join(header)} |\n|{'-|' * len(header)}")
            for name, graph, elements, configurations in problems():
                if options.only not in name:
                    continue
                kernel, count = ours(options.ic, ptxas, nvdisasm, graph, target, folder, elements)
                scale = kernel.threads / 32 / elements if elements else 0
                rows_of_block = kernel.threads // 32 if kernel.name.startswith("warp") else 1
                share = CAUSAL_SHARE if "causal" in name else GROUP_SHARE if "weights" in name else 1.0
                cells, _ = summary(kernel, scale / rows_of_block, share=share)
                of = "" if count == 1 else f", of {count} kernels"
                print(f"| **{name}**{of} | {' | '.join(cells)} |", flush=True)
                best = None
                for function, signature, constants, warps, stages, least, tile_bytes in configurations:
                    if least == "sm_90a" and target == "sm_80":
                        continue
                    try:
                        text, shared = triton_text(function, signature, constants, target, warps, stages)
                    except Exception as error:
                        print(f"{name} {constants} {warps}: {str(error)[-300:]}", file=sys.stderr)
                        continue
                    log, code = assembled(ptxas, nvdisasm, text, target, folder, "triton")
                    (entry, section), = code.items()
                    threads = int(re.search(r"\.reqntid (\d+)", text)[1])
                    found = Kernel(entry, section, log, target, threads, shared)
                    cells, issued = summary(found, threads / 32 / elements if elements else 0, tile_bytes)
                    label = " × ".join(str(v) for k, v in constants.items() if k.startswith("B")) or "a row"
                    label += f", {constants['WAY']}" if "WAY" in constants else ""
                    label += f", {threads // 32} warps" + (", TMA" if tile_bytes else "")
                    if options.keep:
                        print(f"    {label}: {' | '.join(cells)}", file=sys.stderr)
                    if not found.spilled and (best is None or issued < best[0]):
                        best = (issued, label, cells)
                if best:
                    print(f"| Triton: {best[1]} | {' | '.join(best[2])} |", flush=True)


main()
