"""README, CONTRIBUTING and docs: code blocks run unless they are marked, links lead somewhere, what is made is current."""

import re
import shlex
import shutil
import subprocess
import sys
from functools import reduce
from importlib import import_module

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import ROOT
from helpers.small import write_voc
from helpers.weights import write_narrow
from PIL import Image

import converters
from converters.layers import REGISTRY
from repro.cli import main

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)

# What the pages call deploy.prototxt.
DEPLOY = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 4 kernel_size: 3
        weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc8" type: "InnerProduct" bottom: "pool1" top: "fc8" inner_product_param { num_output: 5
        weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


@pytest.fixture(scope="module")
def belongings(classifier, tmp_path_factory):
    """A folder with the files that the pages speak of, all of them small."""
    folder = tmp_path_factory.mktemp("belongings")
    (folder / "deploy.prototxt").write_text(DEPLOY)
    net = converters.CaffeNet(DEPLOY)
    converters.write_caffemodel(folder / "net.caffemodel", net.param, net.to_blobs())
    shutil.copy(classifier, folder / "VGG_ILSVRC_16_layers.caffemodel")
    write_narrow(folder / "fcn8s-heavy-pascal.caffemodel", "voc-fcn8s")
    Image.radial_gradient("L").resize((50, 40)).convert("RGB").save(folder / "photo.jpg")
    write_voc(folder / "my-data", {"train": 2, "val": 1}, ["background", "grey", "white"])
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_runs(page, belongings, tmp_path, monkeypatch):
    monkeypatch.setitem(REGISTRY, "Double", None)  # converting.md registers one, which is to go again
    del REGISTRY["Double"]
    monkeypatch.chdir(shutil.copytree(belongings, tmp_path / "here"))
    names = {}
    for block in FENCE.finditer(page.read_text()):
        if block["mark"] or block["language"] in ("", "text"):
            continue
        if block["language"] == "python":
            exec(compile(block["code"], f"{page.name}", "exec"), names)
        elif block["language"] == "sh":
            run_commands(block["code"])
        else:
            pytest.fail(f"{page.name}: who runs a block of {block['language']}? mark it as not run, or call it text")


def run_commands(code):
    """Run each line of a block: commands of `repro` and nothing else."""
    for line in code.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True) or [None]
        if program is None:
            continue
        assert program == "repro", f"a block with '{program}' must be marked as not run"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}{result.exception!r}"


def test_nothing_escapes_as_a_block_without_a_language():
    for page in PAGES:
        text = page.read_text()
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(FENCE.findall(text)), page.name
        assert re.findall(r"^```\n(?:repro|make|pip) ", text, re.MULTILINE) == [], page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in {slug(title) for title in re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)}, target


def slug(title):
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^\s+- ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(path.name for path in PAGES if path.parent.name == "docs") == sorted(listed)


def test_the_layer_table_is_current():
    # A process of its own: the layers that tests register are not in it.
    made = subprocess.run([sys.executable, "docs/layer_table.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "layers.md").read_text() == made.stdout, "make layer-table"


def test_the_picture_of_the_packages_is_current():
    made = subprocess.run([sys.executable, "docs/architecture.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "architecture.svg").read_text() == made.stdout, "make architecture"


def test_the_picture_shows_the_imports_of_its_own_checkout(tmp_path):
    # The real packages are importable here; none of their wings may appear. a imports c by a public name, and so does b.
    files = {"repro/__init__.py": "HOMES = {'repro.c': ('thing',)}", "repro/a/__init__.py": "'What a < b is.'",
             "repro/a/inner.py": "from repro import thing\ndef f():\n    from repro.b.inner import g",
             "repro/b/__init__.py": "", "repro/b/inner.py": "import repro\nrepro.thing", "repro/c.py": "import reference",
             "reference/__init__.py": "", "surgery/__init__.py": "", "converters/__init__.py": ""}
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "docs").mkdir()
    script = shutil.copy(ROOT / "docs" / "architecture.py", tmp_path / "docs")
    picture = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    # No arrow from a to c: it follows from the two that are there. One from repro to the packages below, none from those.
    assert re.findall(r"<title>(\S+ imports \S+)</title>", picture) == ["repro.a imports repro.b", "repro.b imports repro.c"]
    assert picture.count('class="down"') == 1
    assert ">What a &lt; b is<" in picture and ">a/<" in picture and ">c<" in picture


def test_a_circle_of_imports_is_named(tmp_path):
    for name, source in {"repro": "", "repro/a": "import repro.b", "repro/b": "import repro.a", "reference": "",
                         "surgery": "", "converters": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    (tmp_path / "docs").mkdir()
    script = shutil.copy(ROOT / "docs" / "architecture.py", tmp_path / "docs")
    made = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert made.returncode == 1 and "repro.a -> repro.b -> repro.a" in made.stderr


def test_the_architecture_page_names_what_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`((?:converters|surgery|reference|repro)\.[\w.]+)`", text)
    assert len(names) > 20
    for name in names:
        # A module, a name in one, or one in a class: the longest part that is a module is imported.
        parts = name.split(".")
        inside = max(end for end in range(1, len(parts) + 1) if find_module(parts[:end]))
        assert reduce(getattr, parts[inside:], import_module(".".join(parts[:inside]))) is not None, name


def find_module(parts):
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_the_messages_that_the_converting_page_explains_are_said(tmp_path):
    page = (ROOT / "docs" / "converting.md").read_text()
    explained = re.findall(r"^\| `([^`]+)` \| \w", page.partition("It says")[2], re.MULTILINE)
    wide = 'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } } layer { ' \
           'name: "conv" type: "Convolution" bottom: "in" top: "out" convolution_param { num_output: 64 kernel_size: 3 } }'
    net, path = converters.CaffeNet(wide), tmp_path / "net.caffemodel"
    converters.write_caffemodel(path, net.param, net.to_blobs())
    said, other = [], {"conv": [np.zeros((64, 4, 3, 3)), np.zeros(64)]}
    for mistake in (lambda: converters.read_prototxt(path), lambda: net.copy_from(other),
                    lambda: converters.CaffeNet('layer { name: "forked" type: "Forked" }')):
        with pytest.raises(converters.CaffeError) as error:
            mistake()
        said.append(str(error.value))
    with pytest.warns(UserWarning) as warnings:
        converters.read_prototxt('layer { name: "forked" forked_param { size: 2 } }')
    said += [str(warning.message) for warning in warnings]
    assert len(explained) == 4
    assert [text for text in explained if not any(text in line for line in said)] == []


def test_the_commands_page_names_every_command():
    from repro.cli import COMMANDS

    text = (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"`repro {name}" not in text] == []
