"""What a type checker sees of the packages is what they are."""

import ast
import re
import subprocess
import sys
from importlib import import_module

import pytest
from helpers import ROOT

RIGHT = """
import converters
import repro
from converters import CaffeNet

model = converters.read_caffemodel("net.caffemodel")
net = CaffeNet(model.net, phase="test")
report = net.copy_from(model.blobs)
converters.write_caffemodel("out.caffemodel", net.param, net.to_blobs())
names: list[str] = report.missing + [one.name for one in net.learnable()]
height: int = repro.segment(repro.load("voc-fcn8s", "fcn8s.caffemodel"), "photo.jpg").shape[0]
fast = repro.accelerate(net)
reason: str | None = fast.plainly
"""
# {line: what mypy says of it}
WRONG = {
    "converters.read_caffemodel(3)": 'Argument 1 to "read_caffemodel" has incompatible type "int"',
    "converters.read_caffemodle('net.caffemodel')": 'Module has no attribute "read_caffemodle"',
    "repro.segment(1, 2)": 'Argument 1 to "segment" has incompatible type "int"; expected "CaffeNet"',
    "repro.segmnet": 'Module has no attribute "segmnet"',
    "CaffeNet('net.prototxt', fase='test')": 'Unexpected keyword argument "fase" for "CaffeNet"',
    "net.copy_from(7)": 'Argument 1 to "copy_from" of "CaffeNet" has incompatible type "int"',
    "model.generations": '"Caffemodel" has no attribute "generations"; maybe "generation"?',
    "reveal_type(converters.read_caffemodel)": '-> converters.formats.caffemodel.Caffemodel"',
    "reveal_type(net)": 'Revealed type is "converters.net.CaffeNet"',
    "reveal_type(model.net)": 'Revealed type is "converters.caffe_pb2.NetParameter"',
    "net(data='photo.jpg')": 'Argument "data" to "__call__" of "CaffeNet" has incompatible type "str"; expected "Tensor"',
    "reveal_type(net())": 'str, torch._tensor.Tensor]"',
    "reveal_type(fast.labels())": '"numpy.ndarray[',
}


@pytest.mark.parametrize("package", ["converters", "repro", "repro.training"])
def test_checkers_see_the_names_that_are_imported_when_first_used(package):
    tree = ast.parse(ROOT.joinpath(*package.split("."), "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = [(node.module, alias.name, alias.asname) for node in block.body for alias in node.names]
    homes = import_module(package)._HOMES
    assert sorted(seen) == sorted((module, name, name) for module, names in homes.items() for name in names)


def test_wrong_calls_are_refused_and_right_ones_pass(tmp_path):
    """With the settings and the cache of `mypy` itself, so that it is quick where that has run."""
    lines = [*RIGHT.splitlines(), *WRONG]
    (tmp_path / "calls.py").write_text("\n".join(lines))
    program = [sys.executable, "-m", "mypy", tmp_path / "calls.py"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    said = [(lines[int(number) - 1], text) for number, text in re.findall(r"calls.py:(\d+): (.*)", done.stdout)]
    assert {line for line, _ in said} == WRONG.keys(), done.stdout + done.stderr
    assert [line for line, expected in WRONG.items() if not any(expected in text for _, text in said)] == [], said
