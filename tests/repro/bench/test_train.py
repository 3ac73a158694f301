"""`repro bench train`."""

from click.testing import CliRunner

from repro.cli import main


def test_the_table_of_a_narrow_net():
    result = CliRunner().invoke(main, ["bench", "train", "--size", "40x48", "--width", "0.0625", "--runs", "2"])
    assert result.exit_code == 0, result.output
    title, header, row = result.output.splitlines()
    assert "40x48" in title and "peak MiB" in header
    assert row.startswith("repro") and float(row.split()[1]) > 0
