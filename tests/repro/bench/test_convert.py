"""The bench of the converter measures every contestant and reports ratios."""

import json

import pytest
from click.testing import CliRunner

from converters import CaffeError, read_caffemodel
from repro.bench.convert import make_model, run
from repro.bench.peers import OPENCV, PACKAGES, installed
from repro.cli import main
from repro.miniature.classifier import WEIGHTS


def test_the_bench_compares_with_cp():
    result = CliRunner().invoke(main, ["bench", "convert", "--runs", "1", "--megabytes", "2"])
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.startswith(("cp", "repro convert", "protobuf"))]
    assert len(rows) == 3
    assert all(float(number) >= 0 for row in rows for number in row.split()[-4:])
    assert rows[0].split()[2] == "1.00"


def test_the_file_is_of_the_size_asked_for(tmp_path):
    make_model(tmp_path / "net.caffemodel", 3)
    assert abs((tmp_path / "net.caffemodel").stat().st_size / 2**20 - 3) < 0.05
    assert len(read_caffemodel(tmp_path / "net.caffemodel").blobs) == 3


def test_a_contestant_that_fails_is_named():
    try:
        run("cp", ["cp", "/no/such/file", "/no/such/folder"])
    except CaffeError as error:
        assert str(error).startswith("cp failed: ") and "\n" not in str(error)
    else:
        raise AssertionError("a failure went unnoticed")


def test_a_peer_that_cannot_read_the_file_is_left_out_and_named():
    pytest.importorskip("cv2")
    result = CliRunner().invoke(main, ["bench", "convert", str(WEIGHTS), "--runs", "2"])  # no input that OpenCV finds
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("not measured: OpenCV, loading failed: cv2.error")


def test_json_has_each_turn_and_its_median():
    result = CliRunner().invoke(main, ["bench", "convert", "--runs", "3", "--megabytes", "1", "--json"])
    copy = json.loads(result.stdout)["programs"][0]
    assert copy["name"] == "cp" and copy["seconds"] == sorted(copy["turns"])[1] and copy["peak"] > 0


def test_which_other_programs_know_a_net():
    assert set(installed()) <= set(PACKAGES)
    assert {*installed("voc-fcn16s"), *installed(width=0.5)} <= {OPENCV}  # torchfcn has FCN-8s of full width alone
