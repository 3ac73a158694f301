"""The house: each package knows only those below it, and within a package each wing only those below it."""

import ast
import re
from importlib import import_module

import pytest
from helpers import ROOT

# From the top. What stands on one line knows nothing of one another.
ORDER = (
    ("repro", "repro.__main__"),
    ("repro.cli",),
    ("repro.commands",),
    ("repro.reproduction",),
    ("repro.report",),
    ("repro.bench", "repro.serve", "repro.miniature"),
    ("repro.training", "repro.pages", "repro.doctor"),
    ("repro.inference", "repro.scoring"),
    ("repro.data", "repro.fast", "repro.distributed"),
    ("repro.extras",),
    ("reference",),
    ("surgery",),
    ("converters.inspect", "converters.verify"),
    ("converters.pytorch",),
    ("converters.shapes",),
    ("converters.net",),
    ("converters.layers", "converters.phase"),
    ("converters.formats",),
    ("converters.files",),
    ("converters.errors", "converters.caffe_pb2"),
)
LEVEL = {place: level for level, places in enumerate(ORDER) for place in places}
MODULES = sorted(path.relative_to(ROOT) for floor in ("converters", "surgery", "reference", "repro")
                 for path in (ROOT / floor).rglob("*.py"))
PUBLIC = ("converters", "surgery", "reference")  # packages whose public names anyone above may take from them


def module_name(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def place_of(module):
    """The place in ORDER that a module belongs to; None for one of somebody else's."""
    parts = module.split(".")
    return next((place for place in (".".join(parts[:n]) for n in (2, 1)) if place in LEVEL), None)


def imported(source, path):
    """The modules that a source imports, also within functions, and as import_module("...") or `repro.load` do."""
    tree = ast.parse(source)
    homes = {name: import_module("repro").__getattr__(name).__module__ for name in import_module("repro").__all__}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name != "repro")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: name the package in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield homes[alias.name] if node.module == "repro" and alias.name in homes else inner
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "repro":
            yield homes.get(node.attr, f"repro.{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            # import_module("repro.training.solver") and the like; no other text of one word begins so.
            yield from [node.value] if re.match(r"(converters|surgery|reference|repro)\.\w", node.value) else ()


def upward(source, path):
    """The places at the level of the module at `path`, or above it, that its source imports."""
    here = place_of(module_name(path))
    if here in PUBLIC or here is None:  # converters/__init__.py says where the public names are
        here = module_name(path).partition(".")[0]
    found = {place_of(module) for module in imported(source, path)} - {None, here}
    level = LEVEL.get(here, LEVEL["converters.inspect"] - 0.5)
    return {place for place in found if LEVEL[place] <= level}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_downward(path):
    if path.name != "__init__.py" or len(path.parts) > 2:
        assert place_of(module_name(path)) is not None, f"{path} has no place in ORDER"
    if module_name(path) != "repro":
        assert upward((ROOT / path).read_text(), path) == set()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("converters/formats/wire.py", "from converters.layers import Layer"),
        ("converters/net/__init__.py", "import surgery"),
        ("surgery/interp.py", "from reference import nets"),
        ("reference/nets.py", "def f():\n    from repro.data import Feed"),
        ("repro/data/voc.py", "import_module('repro.scoring.metrics')"),
        ("repro/scoring/metrics.py", "from repro.inference import inputs"),
        ("repro/inference/inputs.py", "from repro import prepare"),
        ("repro/training/loop.py", "import repro\nrepro.report.page"),
        ("repro/report/page.py", "from repro.cli import main"),
    ],
)
def test_an_import_turned_round_is_found(path, line):
    assert upward(line, ROOT.joinpath(path).relative_to(ROOT)) != set()


def test_few_files_stand_beside_the_wings():
    beside = {floor: [path.name for path in (ROOT / floor).iterdir() if path.is_file() and path.suffix in (".py", ".proto")
                      and path.name != "__init__.py"] for floor in ("converters", "repro")}
    assert len(beside["repro"]) <= 6 and len(beside["converters"]) <= 9, beside


def test_every_wing_says_what_it_is():
    for path in MODULES:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse((ROOT / path).read_text())), path
