"""Mutated photographs and uploads: each is read, or refused by a CaffeError; outside CI.

`PYTHONPATH=tests python -m fuzz.fuzz_photographs [--seconds 60] [--seed 0]` damages small sound files of every format and
gives them to `load_image` and to what `repro serve` opens. Anything else than an answer or a CaffeError of one line ends the
run with the exit status 1, and the file is kept.
"""

import argparse
import io
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from converters.errors import CaffeError
from repro.data.images import load_image
from repro.serve.labeller import FORMATS, opened, read_small

MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "I;16", "1", "F", "YCbCr")
SIDE = 32  # of what the page would show


def sound_files():
    """The bytes of a small photograph in every format and mode that Pillow writes, some with an EXIF orientation."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    exif, files = Image.Exif(), []
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9286] = "a comment"
    for form in FORMATS:
        for mode in MODES:
            for options in {}, {"exif": exif}, {"save_all": True, "append_images": [Image.fromarray(noise[::-1].copy())]}:
                file = io.BytesIO()
                try:
                    # Pillow makes 16 bits of 32 alone.
                    Image.fromarray(noise).convert("I" if mode == "I;16" else mode).convert(mode).save(file, form, **options)
                except (OSError, ValueError, KeyError, AttributeError, RuntimeError):
                    continue  # no such mode in this format, or no such format here
                files.append(file.getvalue())
    return list(dict.fromkeys(files))


def mutated(r, files):
    """One of the files, damaged in one to six places; bytes of its head are hit more often."""
    data = bytearray(r.choice(files))
    for _ in range(r.randint(1, 6)):
        place = r.randrange(min(len(data), 200) if r.random() < 0.6 else len(data))
        kind = r.random()
        if kind < 0.5:
            data[place] = r.choice([0, 1, 127, 128, 255, r.randrange(256)])
        elif kind < 0.7:
            data[place:place + 4] = r.choice([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", r.randbytes(4)])
        elif kind < 0.8:
            del data[place:place + r.randint(1, 40)]
        elif kind < 0.9:
            other = r.choice(files)
            start = r.randrange(len(other))
            data[place:place] = other[start:start + r.randint(1, 40)]
        else:
            del data[max(place, 8):]
        if not data:
            return b"\0"
    return bytes(data)


def attempt(data, path):
    """Read bytes as `load_image` and the page do; raises whatever is neither an answer nor a CaffeError of one line."""
    path.write_bytes(data)
    for read in (lambda: load_image(path), lambda: load_image(path, upright=False), lambda: read_small(opened(data), SIDE)):
        try:
            read()
        except CaffeError as error:
            if "\n" in str(error):
                raise AssertionError(f"not one line: {error}") from error


def fuzz(seed, seconds, most, path):
    """Mutate files until one fails, which is left in `path`, or the time or the count is over; how many were fine."""
    r, files, end = random.Random(seed), sound_files(), time.monotonic() + seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on damage
        for count in range(most):
            if time.monotonic() > end:
                return count
            attempt(mutated(r, files), path)
    return most


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    path = Path(tempfile.gettempdir()) / "fuzzed-photograph"
    try:
        print(f"{fuzz(given.seed, given.seconds, 10**9, path)} files were read or refused")
    except Exception:
        traceback.print_exc()
        sys.exit(f"seed {given.seed}: the file is {path}")


if __name__ == "__main__":
    main()
