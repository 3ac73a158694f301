"""The house: each package knows only those below it."""

import ast
from pathlib import Path

import pytest
from helpers import ROOT

FLOORS = ("converters", "surgery", "reference", "repro")  # from the ground up
MODULES = sorted(path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def imported(path):
    """The packages that a module imports, also those within functions and those of import_module("...")."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: name the package in full"
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            # import_module("repro.solver") and the like; no other text of one word begins so.
            yield from (floor for floor in FLOORS if node.value.startswith(f"{floor}."))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_downward(path):
    above = FLOORS[FLOORS.index(path.parts[0]) + 1:]
    assert not set(above) & set(imported(path))


def test_the_floors_are_there():
    assert {path.parts[0] for path in MODULES} == set(FLOORS)
    assert set(imported(Path("repro/reproduce.py"))) >= {"converters", "reference", "repro"}
    assert "repro" in set(imported(Path("repro/__init__.py")))  # named in texts alone
