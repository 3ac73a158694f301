"""Calling the commands as a user does, and what a refusal looks like."""

from click.testing import CliRunner

from repro.cli import main


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(result, *says):
    """Status 2 and one line on standard error that holds `says`."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and len(result.stderr.splitlines()) == 1, result.stderr
    assert [part for part in map(str, says) if part not in result.stderr] == [], result.stderr
