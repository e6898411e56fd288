"""Interleaved measurements of `ic` and peers: contestants, bursts, ratios.

A *burst* is a fraction of a second of runs, and its latency the least of them: what else happens on a machine only adds. A
*round* is a burst of each contestant, in an order that rotates from round to round.
"""

import importlib.util
import json
import math
import os
import pathlib
import select
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


class Failed(Exception):
    """A contestant cannot do what was asked; the text says why."""


def installed(peers):
    """Those of the peers whose Python package is there."""
    return [peer for peer in peers if importlib.util.find_spec(peer)]


class Peer:
    """Another runtime in a process of its own, `peers.py`."""

    def __init__(self, name, threads, limit=300):
        self.name, self.limit = name, limit
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "peers.py", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
        )

    def ask(self, **order):
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise Failed(self.last_words() if ready else f"no answer in {self.limit} s")
        reply = json.loads(line)
        if isinstance(reply, dict) and "error" in reply:
            raise Failed(reply["error"])
        return reply

    def last_words(self):
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        return f"ended: {lines[-1][:300]}" if lines else "ended"

    def load(self, model, inputs, fixed):
        return self.ask(load=str(model), inputs=str(inputs), fixed=fixed)["load_s"]

    def burst(self, seconds):
        """The least time of a run in milliseconds."""
        return 1e3 * min(self.ask(run=seconds))

    def outputs(self):
        with tempfile.TemporaryDirectory() as folder:
            self.ask(outputs=f"{folder}/out.npz")
            return dict(np.load(f"{folder}/out.npz"))

    def close(self):
        self.process.kill()
        self.process.wait()


class Ic:
    """`ic`: the model is compiled once; a burst is a run of `ic bench`, which loads in a millisecond."""

    name = "ic"

    def __init__(self, binary, threads, folder):
        self.binary, self.threads, self.folder = binary, threads, folder
        self.expected_ms = None

    def call(self, *args):
        done = subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise Failed(next((line for line in lines if line.startswith("error")), lines[-1])[:300])
        return done.stdout

    def load(self, model, inputs, dims, options=()):
        self.inputs, self.artifact = inputs, f"{self.folder}/model.ica"
        bound = [text for name, extent in dims.items() for text in ("--dim", f"{name}={extent}")]
        self.call("compile", model, "-o", self.artifact, *bound, *options)

    def bench(self, runs, *more):
        args = ("--inputs", self.inputs, "--threads", self.threads, "--warmup", 2, "--runs", runs, "--json")
        return json.loads(self.call("bench", self.artifact, *args, *more))

    def burst(self, seconds):
        """The least time of a run in milliseconds."""
        if self.expected_ms is None:
            self.expected_ms = self.bench(2)["min_ms"]
        runs = min(100_000, max(2, round(1e3 * seconds / max(self.expected_ms, 1e-3))))
        self.expected_ms = self.bench(runs)["min_ms"]
        return self.expected_ms

    def outputs(self):
        path = f"{self.folder}/out.npz"
        self.call("run", self.artifact, "--inputs", self.inputs, "--threads", self.threads, "--outputs", path)
        return dict(np.load(path))

    def close(self):
        pass


def rounds(contestants, n, seconds):
    """Latencies in milliseconds of each contestant, a burst a round; why, of those that fail."""
    times, failed = {c.name: [] for c in contestants}, {}
    for turn in range(n):
        start = turn % len(contestants)
        for contestant in contestants[start:] + contestants[:start]:
            if contestant.name in failed:
                continue
            try:
                times[contestant.name].append(contestant.burst(seconds))
            except Failed as why:
                failed[contestant.name] = str(why)
    return {name: list_ for name, list_ in times.items() if name not in failed}, failed


def median_interval(values):
    """The median, and an interval that holds the distribution's with at least 95%: order statistics, by the binomial
    distribution; of fewer than 6 values all of them, which is less sure."""
    values = sorted(values)
    n = len(values)
    middle = (values[(n - 1) // 2] + values[n // 2]) / 2
    below, k = 0.5**n, 0
    while k + 1 < (n + 1) // 2 and 2 * (below + math.comb(n, k + 1) * 0.5**n) <= 0.05:
        k += 1
        below += math.comb(n, k) * 0.5**n
    return middle, values[k], values[n - 1 - k]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def error(got, want):
    """The largest difference as a share of its output's scale, or what does not agree."""
    if set(got) != set(want) and len(got) == len(want):
        # A runtime with names of its own; the order is the model's.
        got = dict(zip(want, got.values()))
    worst = 0.0
    for name, expected in want.items():
        if name not in got:
            return f"no output `{name}`"
        found = got[name]
        if found.size != expected.size:
            return f"`{name}` is {list(found.shape)}, not {list(expected.shape)}"
        if expected.size == 0 or expected.dtype.kind not in "fiub":
            continue
        found, expected = found.reshape(expected.shape).astype("f8"), expected.astype("f8")
        if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
            return f"`{name}` is not finite elsewhere"
        finite = np.isfinite(expected)
        if finite.any():
            scale = np.abs(expected[finite]).max()
            worst = max(worst, float(np.abs(found - expected)[finite].max() / max(scale, 1e-30)))
    return worst
