"""Help that helps: one screen, near names, completion, JSON for programs, and the doctor."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from typing import get_overloads

import click
import pytest
import torch
from helpers import ROOT
from helpers.calls import assert_refused, call

import converters
import reference
import repro
import surgery
from converters.errors import did_you_mean, instead
from repro.cli import TASKS, main

ROWS, COLUMNS = 24, 80
PACKAGES = "converters", "surgery", "reference", "repro"


def test_help_fits_a_screen_and_groups_by_task():
    lines = call("--help").stdout.splitlines()
    assert len(lines) < ROWS and max(map(len, lines)) <= COLUMNS  # the prompt takes a line too
    for task, commands in TASKS.items():
        first = next(i for i, line in enumerate(lines) if line.split()[:1] == [task] and line.startswith(f"  {task}"))
        named = [line.removeprefix(f"  {task}").split()[0] for line in lines[first:first + len(commands)]]
        assert named == list(commands)
    assert "Exit status: 0" in " ".join(lines)


def test_starting_costs_no_torch():
    for arguments in (["--help"], ["convert", "caffemodel", "--help"], ["segmnt"]):
        code = f"import sys\nfrom repro.cli import main\ntry: main({arguments})\nfinally: assert 'torch' not in sys.modules"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "AssertionError" not in result.stderr, result.stderr


def test_near_names():
    assert did_you_mean("Convolutoin", ["Pooling", "Convolution"]) == "; did you mean 'Convolution'?"
    assert did_you_mean("lrn", ["LRN", "ReLU"]) == "; did you mean 'LRN'?"
    assert did_you_mean("nothing", ["LRN", "ReLU"]) == ""
    assert instead("nothing", ["LRN", "ReLU"]) == "; there are LRN, ReLU"
    assert_refused(call("fetch", "voc2013"), "did you mean 'voc2012'")
    with pytest.raises(converters.CaffeError, match="did you mean 'Convolution'"):
        converters.CaffeNet("layer { name: 'l' type: 'Convolutional' bottom: 'b' top: 't' }\n")
    net = converters.CaffeNet("layer { name: 'l' type: 'ReLU' bottom: 'data' top: 'relu' }\n")
    with pytest.raises(converters.CaffeError, match="no blob 'rleu'; did you mean 'relu'?"):
        net.forward_blobs({"data": torch.zeros(1)}, ["rleu"])


def completing(**settings):
    """The process of a shell that asks for completion; it fails where torch is imported, which takes seconds."""
    code = ("import sys\nfrom repro.cli import main\n"
            "try: main(prog_name='repro')\nfinally: assert 'torch' not in sys.modules")
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_docs_say_what_makes_a_shell_complete(shell):
    # As a person would write it down from the page: VARIABLE=value before `repro`.
    setting = re.search(rf"(_REPRO_COMPLETE)=({shell}_source) repro", (ROOT / "docs" / "commands.md").read_text())
    result = completing(**{setting[1]: setting[2]})
    assert "_REPRO_COMPLETE" in result.stdout and "complete" in result.stdout and result.stderr == ""


@pytest.mark.parametrize("words, expected", [
    ("repro in", {"inspect"}),
    ("repro evaluate --li", {"--limit"}),
    ("repro reference show voc-fcn8", {"voc-fcn8s", "voc-fcn8s-atonce"}),
    ("repro segment --net voc-fcn3", {"voc-fcn32s", "voc-fcn32s-fixed"}),
    ("repro train nyud-fcn32s-h", {"nyud-fcn32s-hha"}),
])
def test_completion(words, expected):
    result = completing(_REPRO_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert {line.partition(",")[2] for line in result.stdout.splitlines()} == expected, result.stderr
    assert "AssertionError" not in result.stderr


def test_the_doctor(tmp_path):
    found = tmp_path / "VGG_ILSVRC_16_layers.caffemodel"
    found.write_bytes(b"weights")
    said = call("doctor", "--folder", tmp_path)
    about = json.loads(call("doctor", "--folder", tmp_path, "--json").stdout)
    assert said.exit_code == 0
    assert about["version"] == metadata.version("caffe-fcn") and about["version"] in said.stdout
    assert about["packages"]["torch"] == metadata.version("torch") and f"torch {metadata.version('torch')}" in said.stdout
    assert about["threads"] == torch.get_num_threads() and about["devices"]
    assert "onnxruntime" in about["extras"]["onnx"]
    assert about["found"]["vgg16"]["path"] == str(found) and str(found) in said.stdout
    assert about["found"]["sbd"] == {"path": None, "looked_in": str(tmp_path / "sbd")}
    assert f"not in {tmp_path / 'sbd'}; repro fetch sbd" in said.stdout
    assert_refused(call("doctor", "--at", f"sbd={tmp_path}/nowhere"), "nowhere", "no such file")


def test_json(voc_set, fcn_weights):
    def printed(*arguments):
        result = call(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout, parse_constant=pytest.fail)

    lists = printed("data", "check", voc_set)
    assert [(found["list"], found["images"]) for found in lists["lists"]] == [("train", 6), ("val", 2)]
    assert [found["problems"] for found in lists["lists"]] == [[], []]
    assert lists["overlaps"] == []
    assert [found["name"] for found in lists["lists"][0]["classes"]] == ["background", "grey", "white", "(void)"]
    bounds = printed("bounds", voc_set, "--split", "val", "--method", "nearest")
    assert bounds["images"] == 2 and set(bounds["mean_iu"]["nearest"]) == {"128", "64", "32", "16", "8", "4"}
    assert bounds["published"] is None  # the set is not the paper's
    scores = printed("evaluate", "--net", "voc-fcn32s", "--weights", fcn_weights(), "--data", voc_set, "--split", "val")
    assert scores["images"] == 2 and list(scores["class_iu"]) == ["background", "grey", "white"]
    assert printed("reference")["voc-fcn8s"]["mean_iu"] == 65.5
    assert printed("reference", "show", "voc-fcn32s")[0]["layer"] == "input"
    skipped = printed("verify", "retrained")
    assert [check["verdict"] for check in skipped] == ["skipped"] * 3
    assert printed("inspect", fcn_weights())["layers"][0]["name"] == "input"


def functions(thing):
    """A function, or each of its overloads; of a class its public methods and properties, inherited ones of ours too."""
    if inspect.isfunction(thing):
        return get_overloads(thing) or [thing]
    found = [member for cls in getattr(thing, "__mro__", ()) if cls.__module__.partition(".")[0] in PACKAGES
             for name, member in vars(cls).items() if not name.startswith("_") or name in ("__init__", "__call__")]
    found = [getattr(member, "fget", None) or getattr(member, "func", None) or member for member in found]
    # What dataclasses and named tuples make has no source.
    return [member for member in found if inspect.isfunction(member) and member.__code__.co_filename.startswith(str(ROOT))]


@pytest.mark.parametrize("package", [converters, surgery, reference, repro], ids=lambda package: package.__name__)
def test_what_others_call_is_documented_and_annotated(package):
    for name in package.__all__:
        thing = getattr(package, name)
        assert inspect.ismodule(thing) or inspect.getdoc(thing), name
        for function in functions(thing):
            signature = inspect.signature(function)
            given = {one.name: one.annotation for one in signature.parameters.values() if one.name != "self"}
            if function.__name__ != "__init__":
                given["return"] = signature.return_annotation
            missing = [part for part, annotation in given.items() if annotation is inspect.Signature.empty]
            assert not missing, f"{package.__name__}.{name}: {function.__qualname__}{signature} says nothing of {missing}"


def commands_of(command, words=("repro",)):
    """Yield (words, command) of a command and of those within it."""
    yield words, command
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        yield from commands_of(command.get_command(None, name), (*words, name))


def examples(text):
    """The lines of a help that show a command, with what stands before it on the line left out."""
    return [line[re.search(r"\b(torchrun|repro) ", line).start():] for line in text.splitlines()
            if re.search(r"\brepro ", line) and "`" not in line]


EXAMPLES = [(" ".join(words), line) for words, command in commands_of(main) for line in examples(command.help or "")]


@pytest.mark.parametrize(("of", "example"), EXAMPLES)
def test_the_examples_of_help_name_commands_and_options_that_exist(of, example):
    words = shlex.split(example.partition(" repro ")[2] if example.startswith("torchrun") else example)
    command, given = main, words[1:]
    while isinstance(command, click.Group) and command.get_command(None, given[0]):
        command, given = command.get_command(None, given[0]), given[1:]
    if isinstance(command, click.Group):  # `repro reference NAME`
        command = command.get_command(None, "show")
    known = {name for param in command.params for name in param.opts + param.secondary_opts}
    assert [word for word in given if word.startswith("-") and word not in known] == [], of
