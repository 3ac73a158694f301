"""Every dotted path that the docs have published still imports, and gives the same object as its name today."""

import re
import subprocess
import sys
from importlib import import_module

import pytest
from helpers import ENVIRONMENT, ROOT

# What the pages of 0.1.0 named, where it has another home today. Paths that stayed are in docs/api.md.
MOVED = {
    "converters.blob.read_blob": "converters.read_blob",
    "converters.caffemodel.Caffemodel": "converters.Caffemodel",
    "converters.caffemodel.read_caffemodel": "converters.read_caffemodel",
    "converters.caffemodel.write_caffemodel": "converters.write_caffemodel",
    "converters.keys.state_dict": "converters.pytorch.keys.state_dict",
    "converters.layers.base.register": "converters.register",
    "converters.preprocessing.Preprocessing": "converters.Preprocessing",
    "converters.preprocessing.read_metadata": "converters.read_metadata",
    "converters.prototxt.read_prototxt": "converters.read_prototxt",
    "converters.prototxt.read_solver": "converters.read_solver",
    "converters.prototxt.write_prototxt": "converters.write_prototxt",
    "converters.solverstate.SolverState": "converters.SolverState",
    "converters.solverstate.read_solverstate": "converters.read_solverstate",
    "converters.solverstate.write_solverstate": "converters.write_solverstate",
    "repro.evaluation.evaluate": "repro.evaluate",
    "repro.images.load_image": "repro.load_image",
    "repro.images.preprocess": "repro.preprocess",
    "repro.segmentation.load": "repro.load",
    "repro.segmentation.segment": "repro.segment",
    "repro.solver.Solver": "repro.Solver",
    "repro.training.prepare": "repro.prepare",
    "repro.training.train": "repro.train",
}
# What the pages of 0.1.0 named and docs/api.md does not list, at the home that it still has.
STAYED = ("converters.caffe_pb2.NetParameter", "repro.data.Feed", "repro.data.open_sbd", "repro.data.open_voc",
          "surgery.coordinates.coordinate_map")
# What api.md lists, but no package hands out under its bare name: what a function returns, a module's functions, and the
# decorator that converters calls register.
INNER = ("converters.layers.base.layer", "reference.paper.rows", "reference.paper.scores",
         "repro.fast.accelerate.Accelerated", "surgery.transplant.TransplantReport")
LISTED = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)


def find(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("path", MOVED)
def test_an_old_path_is_the_object_of_today(path):
    assert find(path) is find(MOVED[path])


@pytest.mark.parametrize("path", STAYED)
def test_a_path_that_stayed_imports(path):
    assert find(path).__name__ == path.rpartition(".")[2]


def test_old_paths_import_first_too():
    # In a process of its own nothing has imported the module by its name of today.
    lines = [line for path in MOVED for line in (f"import {path.rpartition('.')[0]}", path)]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], env=ENVIRONMENT, check=True)


@pytest.mark.parametrize("path", LISTED)
def test_a_listed_name_comes_from_its_package_itself(path):
    if path in INNER:
        assert find(path)
    else:
        package, name = path.partition(".")[0], path.rpartition(".")[2]
        assert find(f"{package}.{name}") is find(path)
