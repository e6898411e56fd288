"""Run ONNX Runtime on the models in target/models and keep inputs and outputs as cases for the tests.

usage: references.py MODELS CASES [NAME...]

A case is CASES/<model>.<case>.npz with arrays `in:<input>` and `out:<output>`. Inputs are seeded.
"""

import pathlib
import sys
import zlib

import numpy as np
import onnxruntime as ort


def image(rng, *shape):
    """Smooth blobs with fine noise, in [0, 1]."""
    n, c, h, w = shape
    coarse = rng.random((n, c, h // 16 + 2, w // 16 + 2))
    smooth = coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, :h, :w]
    return (0.75 * smooth + 0.25 * rng.random(shape)).astype("f4")


def text(rng, *shape):
    """Dark strokes on a light page, as PP-OCR normalizes it."""
    n, c, h, w = shape
    page = np.full((n, 1, h, w), 0.9)
    for top in range(16, h - 16, 48):
        for left in range(16, w - 16, 14):
            if rng.random() < 0.8:
                page[:, :, top : top + 20, left : left + int(rng.integers(2, 9))] = 0.1
    return ((page.repeat(c, axis=1) - 0.5) / 0.5).astype("f4")


def wave(rng, n, rate):
    t = np.arange(n) / rate
    tones = sum(0.1 * np.sin(2 * np.pi * f * t) for f in (220, 440, 1330))
    return (tones + 0.02 * rng.standard_normal(n)).astype("f4")[None]


def silero(rng, rate, n):
    state = np.tanh(0.3 * rng.standard_normal((2, 1, 128))).astype("f4")
    return {"input": wave(rng, n, rate), "state": state, "sr": np.array(rate, "i8")}


SILERO = {"16k": lambda r: silero(r, 16000, 576), "8k": lambda r: silero(r, 8000, 288)}
CASES = {
    "magika": {f"b{b}": lambda r, b=b: {"bytes": r.integers(0, 257, (b, 2048)).astype("i4")} for b in (1, 4)},
    "silero": SILERO,
    "silero_ifless": SILERO,
    "silero_16k": {"16k": lambda r: silero(r, 16000, 576)},
    "ppocr_det": {f"{h}x{w}": lambda r, h=h, w=w: {"x": text(r, 1, 3, h, w)} for h, w in ((640, 640), (736, 1280))},
    "ppocr_rec": {
        f"b{b}w{w}": lambda r, b=b, w=w: {"x": text(r, b, 3, 48, w)} for b in (1, 6) for w in (160, 320, 1000)
    },
    "ppocr_cls": {"b1": lambda r: {"x": text(r, 1, 3, 48, 192)}},
    "yolov8n": {f"{s}": lambda r, s=s: {"images": image(r, 1, 3, s, s)} for s in (320, 640)},
    "ddddocr": {f"w{w}": lambda r, w=w: {"input1": image(r, 1, 1, 64, w)} for w in (100, 160, 300)},
}


def main():
    models, cases = map(pathlib.Path, sys.argv[1:3])
    cases.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:] or CASES:
        path = models / f"{name}.onnx"
        if not path.exists():
            continue
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        known = {i.name for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        for case, make in CASES[name].items():
            target = cases / f"{name}.{case}.npz"
            if target.exists():
                continue
            feeds = {k: v for k, v in make(np.random.default_rng(zlib.crc32(case.encode()))).items() if k in known}
            arrays = {f"in:{k}": v for k, v in feeds.items()}
            arrays |= {f"out:{k}": v for k, v in zip(names, session.run(names, feeds))}
            np.savez_compressed(target, **arrays)
            print(target)


main()
