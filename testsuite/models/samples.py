"""Draw calibration samples for models, and other inputs to measure on, for `cargo xtask quantization`.

usage: samples.py text    OUT N TOKENIZER.json INPUTS.npz    pieces of English technical text, in the place of `input_ids`
       samples.py lines   OUT N WIDTH                        lines of drawn text, 48 pixels high, as PP-OCR normalizes them
       samples.py scenes  OUT N SIDE                         drawn scenes of shapes on gradients, in [0, 1]

Writes OUT.calibration.npz, N samples on the first axis, and OUT.inputs.npz, one that is not among them. Samples are seeded.
The text is that of the documentation of Python's standard library. INPUTS.npz gives the other inputs and the shape.
"""

import importlib
import inspect
import pkgutil
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def documentation():
    """Everything that modules of the standard library say of themselves, up to a megabyte."""
    parts = []
    for name in sorted(m.name for m in pkgutil.iter_modules() if m.name in sys.stdlib_module_names):
        if name.startswith("_") or name in ("antigravity", "this", "idlelib"):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for _, value in [("", module), *sorted(vars(module).items())]:
            if (text := inspect.getdoc(value)) and len(text) > 200:
                parts.append(text)
        if sum(map(len, parts)) > 1_000_000:
            break
    return list(dict.fromkeys(parts))


def text(count, tokenizer, inputs):
    from tokenizers import Tokenizer

    base = dict(np.load(inputs))
    length = base["input_ids"].shape[1]
    tokenizer = Tokenizer.from_file(tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    words = documentation()
    np.random.default_rng(0).shuffle(words)
    tokens = [t for part in words for t in tokenizer.encode(part, add_special_tokens=False).ids]
    if len(tokens) < count * length:
        raise SystemExit(f"{len(tokens)} tokens of text, fewer than {count} samples of {length}")
    for i in range(count):
        ids = np.array(tokens[i * length : (i + 1) * length], base["input_ids"].dtype)
        yield {**base, "input_ids": np.broadcast_to(ids, base["input_ids"].shape)}


def lines(count, width):
    rng = np.random.default_rng(1)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789     .,:-/")
    for _ in range(count):
        paper, ink = rng.integers(150, 256, 3), rng.integers(0, 110, 3)
        image = Image.new("RGB", (int(width), 48), tuple(map(int, paper)))
        font = ImageFont.load_default(int(rng.integers(18, 40)))
        line = "".join(rng.choice(letters, int(rng.integers(8, 40))))
        ImageDraw.Draw(image).text((int(rng.integers(0, 20)), int(rng.integers(0, 8))), line, tuple(map(int, ink)), font)
        pixels = np.asarray(image, "f4") + rng.normal(0, 4, (48, int(width), 3))
        yield {"x": ((pixels / 255 - 0.5) / 0.5).astype("f4").transpose(2, 0, 1)[None]}


def scenes(count, side):
    rng = np.random.default_rng(2)
    side = int(side)
    y, x = np.mgrid[0:side, 0:side] / side
    for _ in range(count):
        slopes, base = rng.uniform(-60, 60, (2, 3)), rng.uniform(60, 200, 3)
        sky = base + x[..., None] * slopes[0] + y[..., None] * slopes[1]
        image = Image.fromarray(sky.clip(0, 255).astype("u1"))
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(4, 14))):
            left, top = map(int, rng.integers(-20, side, 2))
            box = (left, top, left + int(rng.integers(10, side // 2)), top + int(rng.integers(10, side // 2)))
            shape = (draw.ellipse, draw.rectangle)[int(rng.integers(2))]
            shape(box, fill=tuple(map(int, rng.integers(0, 256, 3))))
        pixels = np.asarray(image, "f4") + rng.normal(0, 5, (side, side, 3))
        yield {"images": (pixels / 255).clip(0, 1).astype("f4").transpose(2, 0, 1)[None]}


def main():
    kind, out, count, *rest = sys.argv[1:]
    draw = {"text": text, "lines": lines, "scenes": scenes}[kind]
    *samples, other = draw(int(count) + 1, *rest)
    np.savez(f"{out}.calibration.npz", **{name: np.stack([s[name] for s in samples]) for name in other})
    np.savez(f"{out}.inputs.npz", **other)


if __name__ == "__main__":
    main()
