"""Coverage-guided fuzzing of everything that reads files, with atheris; outside CI: `make fuzz`.

`python tests/fuzz/fuzz_readers.py READER [CORPUS] [libFuzzer's options]` mutates sound files for as long as it is told. A
reader answers, or raises a CaffeFileError of one line; anything else, a hang of 10 seconds or memory beyond 2 GB ends the
run and leaves the bytes that did it in a file crash-* (to look at: give that file's name in the corpus's place).
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["converters"]):
    from converters.errors import CaffeFileError
    from converters.formats.blob import read_blob
    from converters.formats.caffemodel import read_caffemodel
    from converters.formats.prototxt import read_prototxt, read_solver, write_prototxt
    from converters.formats.solverstate import read_solverstate
    from converters.pytorch.safetensors_file import read_header, write_safetensors

from reference.solvers import solver

FORMATS = Path(__file__).parents[1] / "golden" / "formats"
FOLDER = Path("build/fuzz")  # of the corpora, one a reader, which every run adds to
OPTIONS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]


def read_all(path):
    """A caffemodel with every value looked at: arrays are views of the file."""
    for arrays in read_caffemodel(path).blobs.values():
        for array in arrays:
            array.tobytes()


# {reader: (function, sound files)}
READERS = {
    "caffemodel": (read_all, "*.caffemodel"),
    "hdf5": (read_all, "*.caffemodel.h5"),
    "solverstate": (read_solverstate, "*.solverstate"),
    "solverstate-hdf5": (read_solverstate, "*.solverstate.h5"),
    "mean": (read_blob, "*.binaryproto"),
    "prototxt": (lambda path: read_prototxt(path, []), "*.prototxt"),
    "solver": (lambda path: read_solver(path, []), "*solver.prototxt"),
    "safetensors": (read_header, "*.safetensors"),
}
# What there is no golden file of.
MADE = {
    "solver": lambda path: write_prototxt(path, solver("voc-fcn32s")),
    "safetensors": lambda path: write_safetensors(path, {"a": [[1.0, 2.0]], "b": [3.0]}, {"mean": "[1, 2, 3]"}),
}


def target(read, path):
    def attempt(data):
        path.write_bytes(data)
        try:
            read(path)
        except CaffeFileError as error:
            if "\n" in str(error) or not str(error).startswith(str(path)):
                raise AssertionError(f"not one line that begins with the file: {error}") from error

    return attempt


def seeded(name):
    """The folder of a reader's corpus, the sound files in it."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in FORMATS.glob(READERS[name][1]):
        (folder / path.name).write_bytes(path.read_bytes())
    if name in MADE:
        MADE[name](folder / name)
    return folder


def main():
    if sys.argv[1:2] == [] or sys.argv[1] not in READERS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(READERS)} [CORPUS] [options of libFuzzer]")
    name, given = sys.argv[1], sys.argv[2:]
    read, pattern = READERS[name]
    if not given or given[0].startswith("-"):
        given = [str(seeded(name)), *given]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made{pattern.lstrip('*')}"
        atheris.Setup([sys.argv[0], *OPTIONS, f"-artifact_prefix={FOLDER}{os.sep}", *given], target(read, path))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
