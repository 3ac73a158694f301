"""What is distributed: a source archive and a wheel made of it, which work away from the checkout."""

import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata

import pytest
from helpers import ROOT

from repro.miniature.classifier import WEIGHTS

PACKAGES = ("converters", "surgery", "reference", "repro")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")

EVERYTHING = """
import pkgutil, sys
from importlib import import_module
from click.testing import CliRunner
import converters, reference, repro, surgery
from repro.cli import COMMANDS, main

packages = converters, surgery, reference, repro
assert all(package.__file__.startswith(sys.prefix) for package in packages), [package.__file__ for package in packages]
for package in packages:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            import_module(module.name)

def helped(words):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0 and result.stdout, (words, result.output, result.exception)

for name in COMMANDS:
    command = import_module(f"repro.commands.{name}").command
    helped([name])
    for inner in getattr(command, "commands", ()):
        helped([name, inner])
assert reference.split("seg11valid") and reference.classes("voc")
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=NOT_SHIPPED)
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
                 "Makefile", "constraints.txt", "mkdocs.yml"):
        shutil.copy(ROOT / name, source)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source], folder)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The `bin` of an environment that has the wheel, and what it requires from this one's."""
    environment = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", environment], environment)
    python = environment / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", archives[1]],
        environment)
    # As a plain path, so that the .pth of this checkout's own installation is not heeded there.
    home = next((environment / "lib").glob("python*/site-packages"))
    (home / "requirements.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    return environment / "bin"


def run(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_is_left_out(archives):
    with tarfile.open(archives[0]) as tar:
        in_source = {name.partition("/")[2] for name in tar.getnames()}
    with zipfile.ZipFile(archives[1]) as wheel:
        in_wheel = set(wheel.namelist())
    files = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    assert files - in_wheel == set()
    assert files - in_source == set()
    assert {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "Makefile", "constraints.txt"} <= in_source
    assert any(name.endswith("LICENSE") for name in in_wheel)


def test_every_command_and_module_is_there(installed, tmp_path):
    run([installed / "python", "-c", EVERYTHING], tmp_path)


def test_the_command_works_in_any_folder(installed, tmp_path):
    assert run([installed / "repro", "--version"], tmp_path).split()[-1] == metadata.version("caffe-fcn")
    run([installed / "repro", "convert", "caffemodel", WEIGHTS, "-o", "w.safetensors", "--verify"], tmp_path)
    assert str(installed.parent) in run([installed / "repro", "doctor"], tmp_path)


@pytest.mark.slow
def test_types_are_known_to_a_checker(installed, tmp_path):
    """Of what is installed, with no settings of ours: py.typed, and names that are imported when they are first used."""
    (tmp_path / "calls.py").write_text("import converters\nimport repro\nconverters.read_caffemodel(3)\nrepro.segmnet\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python", "calls.py"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert re.findall(r"^calls.py:(\d): error: .*(read_caffemodel|segmnet)", done.stdout, re.M) \
        == [("3", "read_caffemodel"), ("4", "segmnet")], done.stdout + done.stderr


def test_the_version_is_said_once():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert newest == metadata.version("caffe-fcn")
    places = [path for path in [*ROOT.glob("*.toml"), *ROOT.glob("*.cfg"), *(ROOT / "repro").rglob("*.py")]
              if re.search(r"^_*version_* = ", path.read_text(), re.M)]
    assert [path.name for path in places] == ["setup.cfg"]
