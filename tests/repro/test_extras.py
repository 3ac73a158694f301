"""With only the core installed everything works but what an extra is for, and that says so before it costs time."""

import re
import subprocess
import sys
from configparser import ConfigParser

import pytest
from helpers import ROOT
from helpers.small import WIDTH

from repro.extras import PACKAGES

CORE = {"torch", "numpy", "h5py", "protobuf", "safetensors", "pillow", "click", "scipy", "tqdm"}


def configured():
    """({package that the core requires}, {extra: [package, ...]}) of setup.cfg."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")

    def names(text):
        return [re.match(r"[\w-]+(\[.+\])?", line)[0] for line in text.split("\n") if line]

    extras = {extra: names(text) for extra, text in parser["options.extras_require"].items()}
    return set(names(parser["options"]["install_requires"])), extras


def test_what_is_asked_for_is_what_the_extras_install():
    core, extras = configured()
    assert core == CORE
    assert {extra: sorted(extras[extra]) for extra in PACKAGES} == {name: sorted(has) for name, has in PACKAGES.items()}
    assert extras["all"] == [f"caffe-fcn[{','.join(PACKAGES)}]"] and extras["dev"][0] == "caffe-fcn[all]"


def test_the_lowest_versions_are_of_all_that_commands_need():
    core, extras = configured()
    pins = subprocess.run([sys.executable, ROOT / "tests" / "lowest.py"], capture_output=True, text=True, check=True).stdout
    names = [line.partition("==")[0] for line in pins.splitlines()]
    assert sorted(names) == sorted(core.union(*(extras[extra] for extra in PACKAGES)))


def test_the_readme_says_what_each_is_for():
    core, extras = configured()
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(rows) >= core.union(*(extras[extra] for extra in PACKAGES))


CALL_ALL = """
import sys
sys.modules.update(dict.fromkeys({packages}))
from repro.cli import main
for arguments in {commands}:
    main(arguments, standalone_mode={alone})
"""


def without(packages, *commands):
    """The process that runs these commands one after the other, and cannot import these packages."""
    commands = [list(map(str, arguments)) for arguments in commands]
    code = CALL_ALL.format(packages=sorted(packages), commands=commands, alone=len(commands) == 1)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


EXTRAS = {package for packages in PACKAGES.values() for package in packages}


def works(*commands):
    result = without(EXTRAS, *commands)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_core_alone(voc_set, classifier, fcn_weights, tmp_path):
    net, weights = ("--net", "voc-fcn32s"), ("--weights", fcn_weights())
    said = works(
        ["inspect", classifier],
        ["convert", "caffemodel", classifier, "-o", tmp_path / "weights.safetensors", "--verify"],
        ["segment", voc_set / "JPEGImages", *net, *weights, "-o", tmp_path / "labels"],
        ["evaluate", *net, *weights, "--data", voc_set, "--split", "val"],
        ["surgery", classifier, *net, "-o", tmp_path / "fcn.caffemodel"],
        ["reference", "voc-fcn8s", "--size", "100x100"],
        ["fetch"],
        ["fetch", "--dry-run", "sbd"],
        ["doctor"],
    )
    assert [word for word in ("conv1_1", "mean IU", "fuse_pool4", "voc2011", "md5:", "devices: ") if word not in said] == []


@pytest.mark.slow
def test_training_goes_on_without_tensorboard(voc_set, classifier, tmp_path):
    said = works(["train", "voc-fcn16s", "--scheme", "staged", "--data", voc_set, "--weights", classifier, "--width", WIDTH,
                 "--iterations", 1, "-o", tmp_path])
    assert said.count("TensorBoard is not installed") == 1 and "pip install 'caffe-fcn[tensorboard]'" in said
    assert (tmp_path / "voc-fcn16s" / "log.csv").exists() and list(tmp_path.rglob("tensorboard")) == []


@pytest.mark.slow
def test_a_run_without_its_figure_is_told_at_the_start_and_gets_it_later(voc_set, classifier, tmp_path):
    arguments = ["reproduce", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "--width", WIDTH, "--iterations", 1,
                 "--run", tmp_path / "run"]
    lines = works(arguments).splitlines()
    assert lines[0].startswith("without matplotlib and jinja2") and "pip install 'caffe-fcn[report]'" in lines[0]
    assert (tmp_path / "run" / "results.json").exists()
    assert [name for name in ("figure.png", "report.html") if (tmp_path / "run" / name).exists()] == []
    again = without([], arguments)
    assert again.returncode == 0 and "iteration" not in again.stdout, again.stderr
    assert (tmp_path / "run" / "figure.png").exists() and (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "lacks", "extra"), [
    (["serve", "--weights", "voc-fcn32s=net.caffemodel"], ["bottle"], "serve"),
    (["fetch", "sbd", "--folder", "nowhere"], ["requests"], "fetch"),
    (["bench", "infer", "--size", "20x20", "--size", "30x30", "--plot", "plot.png"], ["matplotlib"], "report"),
])
def test_what_needs_an_extra_names_it(arguments, lacks, extra, tmp_path):
    result = without(lacks, arguments)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
    assert f"needs {lacks[0]}: pip install 'caffe-fcn[{extra}]'" in result.stderr


@pytest.mark.slow
def test_a_report_needs_no_matplotlib(small_run, tmp_path):
    arguments = ["report", small_run, "-o", tmp_path / "report.html"]
    assert without(["matplotlib"], arguments).returncode == 0
    refused = without(["jinja2"], arguments)
    assert refused.returncode == 2 and "needs jinja2: pip install 'caffe-fcn[report]'" in refused.stderr
