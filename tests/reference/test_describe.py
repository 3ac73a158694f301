"""The table of a net, against numbers worked out by hand."""

import json

import pytest
from click.testing import CliRunner

import reference
from reference.describe import describe, format_table
from repro.cli import main


def call(*arguments):
    return CliRunner().invoke(main, ["reference", *map(str, arguments)])


def test_rows_of_an_fcn():
    rows = {row.layer: row for row in describe(reference.net("voc-fcn8s", "deploy"), (375, 500))}
    assert "relu1_1" not in rows and "drop6" not in rows
    first = rows["conv1_1"]
    assert (first.kernel, first.stride, first.pad) == ((3, 3), (1, 1), (100, 100))
    assert first.output == (1, 64, 573, 698)
    assert first.parameters == 64 * 3 * 9 + 64
    assert first.multiply_adds == 64 * 3 * 9 * 573 * 698
    assert rows["fc6"].output == (1, 4096, 12, 16)
    assert rows["fc6"].receptive_field == (404, 404)
    assert rows["upscore8"].multiply_adds == 21 * 21 * 16 * 16 * 54 * 70  # its bottom's pixels
    assert rows["score"].output == (1, 21, 375, 500)
    assert sum(row.parameters for row in rows.values()) == 134489759


def test_rows_of_a_classifier():
    rows = {row.layer: row for row in describe(reference.net("vgg16", "deploy"))}
    assert rows["fc6"].multiply_adds == 25088 * 4096
    assert rows["fc6"].receptive_field is None and rows["pool5"].receptive_field == (212, 212)
    assert sum(row.parameters for row in rows.values()) == 138357544
    assert sum(row.multiply_adds for row in rows.values()) == 15470264320


@pytest.mark.slow
@pytest.mark.parametrize("name", reference.names())
def test_every_net_has_a_table(name):
    net = reference.net(name, "deploy", width=1 / 16)
    rows = describe(net)
    lines = format_table(rows).splitlines()
    assert len(lines) == len(rows) + 2 and lines[-1].startswith("total")


def test_the_command(tmp_path):
    assert "voc-fcn8s                mean IU 65.5" in call().stdout.splitlines()
    table = call("voc-fcn32s", "--size", "64x80", "--width", 1 / 8).stdout
    assert "1x21x64x80" in table and table == call("show", "voc-fcn32s", "--size", "64x80", "--width", 1 / 8).stdout
    rows = json.loads(call("voc-fcn32s", "--json", "--num-classes", 5, "--width", 1 / 8).stdout)
    assert rows[-1]["layer"] == "score" and rows[-1]["output"] == [1, 5, 500, 500]
    for suffix in (".svg", ".dot"):
        assert call("picture", "voc-fcn8s", "-o", tmp_path / f"net{suffix}").exit_code == 0
        assert "fuse_pool4" in (tmp_path / f"net{suffix}").read_text()
    assert call("export", "voc-fcn8s", tmp_path / "net").exit_code == 0
    assert (tmp_path / "net" / "solver.prototxt").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["voc-fcn9s"], "no net 'voc-fcn9s'"),
    (["voc-fcn8s", "--size", "500x"], "'500x' is not a size"),
    (["voc-fcn8s", "--size", "0x5"], "height and width as 375x500"),
    (["picture", "voc-fcn8s", "-o", "net.jpg"], "as .svg or .dot, not '.jpg'"),
    (["export", "voc-fcn9s", "net"], "no net 'voc-fcn9s'"),
])
def test_mistakes_end_in_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2 and said in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
