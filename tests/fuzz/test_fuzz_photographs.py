"""A short run of the fuzzer of photographs."""

import pytest
from fuzz.fuzz_photographs import attempt, fuzz, sound_files

from converters.errors import CaffeError
from repro.data.images import load_image


def test_the_sound_files_are_read(tmp_path):
    files, path, read = sound_files(), tmp_path / "photograph", 0
    for data in files:
        path.write_bytes(data)
        try:
            read += load_image(path).shape in ((40, 30, 3), (30, 40, 3))
        except CaffeError:
            continue  # floating-point pixels
    assert read > 0.8 * len(files) > 40


def test_a_short_run_finds_nothing(tmp_path):
    assert fuzz(0, 600, 300, tmp_path / "photograph") == 300


def test_what_is_neither_an_answer_nor_a_refusal_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError):
        attempt(b"", tmp_path / "no folder" / "photograph")
