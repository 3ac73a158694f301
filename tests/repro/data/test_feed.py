import random

import numpy as np
import pytest
import torch
from PIL import Image

from converters.errors import CaffeError, CaffeFileError
from reference.families import VOC
from repro.data import Dataset, Feed
from repro.data.images import preprocess, save_labels

COUNT = 11


@pytest.fixture
def dataset(tmp_path):
    """Images of different sizes, each with its own number as its colour and its labels."""
    for k in range(COUNT):
        shape = (20 + k, 30 - k)
        Image.fromarray(np.full((*shape, 3), 20 * k, np.uint8)).save(tmp_path / f"{k}.png")
        save_labels(tmp_path / f"{k}_labels.png", np.full(shape, k, np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{k}\n" for k in range(COUNT)))
    return Dataset(tmp_path, tmp_path / "list.txt", "{}.png", "{}_labels.png", [f"class{k}" for k in range(COUNT)])


def numbers(feed, count):
    """Which images the next ones are."""
    return [int(next(feed)["label"].flatten()[0]) for _ in range(count)]


def test_blobs_are_what_the_release_feeds(dataset):
    with Feed(dataset, shuffle=False) as feed:
        for k in range(3):
            blobs = next(feed)
            assert list(blobs) == ["data", "label"]
            assert blobs["label"].shape == (1, 1, 20 + k, 30 - k) and blobs["label"].dtype == torch.float32
            assert (blobs["label"] == k).all()
            assert torch.equal(blobs["data"], preprocess(dataset[k].image, VOC.mean))


def test_images_are_drawn_as_the_release_draws(dataset):
    draw = random.Random(1337)
    expected = [int(draw.random() * COUNT) for _ in range(50)]
    with Feed(dataset) as feed:
        assert numbers(feed, 50) == expected
    with Feed(dataset, seed=1) as feed:
        assert numbers(feed, 50) != expected


def test_list_order_starts_over(dataset):
    with Feed(dataset, shuffle=False) as feed:
        assert numbers(feed, 2 * COUNT + 3) == [*range(COUNT), *range(COUNT), 0, 1, 2]


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"mirror": True, "jitter": 7}])
@pytest.mark.parametrize("ahead", [0, 1, 6])
def test_a_restored_feed_goes_on_with_what_was_not_consumed(dataset, options, ahead):
    with Feed(dataset, ahead=ahead, **options) as feed, Feed(dataset, **options) as restored:
        numbers(feed, 13)
        state = feed.state_dict()
        numbers(restored, 5)
        restored.load_state_dict(state)
        assert restored.state_dict() == state
        for _ in range(20):
            ours, theirs = next(feed), next(restored)
            assert all(torch.equal(ours[name], theirs[name]) for name in ("data", "label"))


def test_a_state_of_other_images_is_refused(dataset):
    with Feed(dataset) as feed:
        for change in ({"images": 8498}, {"seed": 0}, {"shuffle": False}):
            with pytest.raises(CaffeError, match=f"{next(iter(change))} is .* but was {next(iter(change.values()))}"):
                feed.load_state_dict(feed.state_dict() | change)


def test_a_broken_image_is_raised_when_its_turn_comes_and_again(dataset):
    (dataset.root / "2.png").write_bytes(b"broken")
    with Feed(dataset, shuffle=False) as feed:
        assert numbers(feed, 2) == [0, 1]
        for _ in range(2):
            with pytest.raises(CaffeFileError, match="2.png"):
                next(feed)
        assert feed.state_dict()["consumed"] == 2


def test_mirror_flips_image_and_labels_together_and_leaves_the_draw_alone(tmp_path):
    labels = np.tile(np.arange(8, dtype=np.uint8), (6, 1))
    Image.fromarray(np.stack([labels * 10] * 3, axis=2)).save(tmp_path / "0.png")
    save_labels(tmp_path / "0_labels.png", labels)
    (tmp_path / "list.txt").write_text("0\n")
    lone = Dataset(tmp_path, tmp_path / "list.txt", "{}.png", "{}_labels.png", [*"abcdefgh"], mean=(0, 0, 0))
    with Feed(lone, mirror=True) as feed:
        flipped = 0
        for _ in range(40):
            blobs = next(feed)
            assert torch.equal(blobs["data"][:, :1], blobs["label"] * 10)
            flipped += bool(blobs["label"][0, 0, 0, 0] == 7)
        assert 8 < flipped < 32


def test_jitter_moves_image_and_labels_and_fills_with_mean_and_void(dataset):
    moves = set()
    with Feed(dataset, jitter=5) as feed, Feed(dataset) as still:
        for _ in range(30):
            blobs, whole = next(feed), next(still)
            void = blobs["label"] == 255
            assert blobs["label"].shape == whole["label"].shape
            assert (blobs["data"][void.expand(1, 3, -1, -1)] == 0).all()
            inside = ~void
            assert torch.equal(blobs["label"][inside], whole["label"][inside])
            assert torch.equal(blobs["data"][:, :1][inside], whole["data"][:, :1][inside])
            rows, columns = inside[0, 0].any(1), inside[0, 0].any(0)
            moves.add((int((~rows).sum()), int((~columns).sum()), bool(rows[0]), bool(columns[0])))
    assert max(rows for rows, *_ in moves) == 5 == max(columns for _, columns, *_ in moves)
    assert len(moves) > 15


def test_jitter_may_exceed_the_image(dataset):
    with Feed(dataset, jitter=1000) as feed:
        for _ in range(5):
            assert next(feed)["label"].shape[2] >= 20


def test_the_state_counts_the_images_of_all_processes(dataset):
    with Feed(dataset, shuffle=False, shard=(1, 3)) as feed, Feed(dataset, shuffle=False, shard=(0, 2)) as other:
        assert numbers(feed, 2) == [1, 4]
        assert feed.state_dict()["consumed"] == 6
        other.load_state_dict(feed.state_dict())
        assert numbers(other, 1) == [6]
