"""The bench of the converter measures every contestant and reports ratios."""

import pytest
from click.testing import CliRunner

from converters import CaffeError, read_caffemodel
from repro.bench.convert import make_model, run
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
