import io

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from converters.errors import CaffeError, CaffeFileError
from reference.families import VOC
from repro.data.images import load_image, load_labels, overlay, preprocess, save_labels, voc_palette
from repro.serve.labeller import opened


@pytest.fixture
def photograph():
    rows, columns = np.mgrid[:24, :37]
    return np.stack([rows * 10, columns * 6, 255 - rows * 5], axis=2).astype(np.uint8)


def test_photograph_is_read_as_stored(tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png"), photograph)
    assert np.array_equal(load_image(str(tmp_path / "a.png")), photograph)
    assert np.array_equal(load_image(Image.fromarray(photograph)), photograph)


def test_exif_orientation_turns_the_photograph(tmp_path, photograph):
    image = Image.fromarray(photograph)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "a.png"), np.rot90(photograph, -1))
    assert np.array_equal(load_image(tmp_path / "a.png", upright=False), photograph)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, photograph, orientation):
    image = Image.fromarray(photograph)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        assert np.array_equal(load_image(tmp_path / "a.png"), np.array(ImageOps.exif_transpose(stored)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it skips
def test_a_damaged_exif_block_leaves_the_picture_as_it_is_stored(tmp_path, photograph):
    """Every byte of it damaged in turn: the picture is read, turned or not, and nothing else is raised."""
    image = Image.fromarray(photograph)
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "a maker of cameras"
    exif.get_ifd(0x8769)[0x9286] = b"comment"
    image.save(tmp_path / "whole.jpg", exif=exif)
    whole = (tmp_path / "whole.jpg").read_bytes()
    start = whole.index(b"Exif\0\0") + 6
    length = int.from_bytes(whole[start - 8:start - 6], "big") - 8
    sizes = set()
    for place in range(start, start + length):
        for value in (0, 255, whole[place] ^ 0x80):
            (tmp_path / "cut.jpg").write_bytes(whole[:place] + bytes([value]) + whole[place + 1:])
            sizes.add(load_image(tmp_path / "cut.jpg").shape[:2])
    assert sizes == {(24, 37), (37, 24)}


def test_gray_becomes_three_equal_channels(tmp_path, photograph):
    gray = photograph[:, :, 0]
    Image.fromarray(gray).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png"), np.stack([gray] * 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = load_image(tmp_path / "a.jpg")[8, 8].astype(int)
    assert red > 240 and green < 15 and blue < 15


def test_palette_is_resolved_to_colours(tmp_path):
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (4, 5, 3)
    assert load_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


def test_what_is_transparent_is_laid_on_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(CaffeFileError, match="a.tiff: .*floating-point"):
        load_image(tmp_path / "a.tiff")


def test_thirty_two_bits_are_refused():
    with pytest.raises(CaffeFileError, match="beyond 16 bits"):
        load_image(Image.fromarray(np.full((4, 4), 70000, np.int32)))


def test_damaged_photographs_are_named_in_one_line(tmp_path, photograph):
    Image.fromarray(photograph).resize((300, 200)).save(tmp_path / "whole.jpg")
    Image.fromarray(photograph).resize((300, 200)).save(tmp_path / "whole.png")
    for suffix in ("jpg", "png"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    for name in ("cut.jpg", "cut.png", "text.jpg", "empty.jpg", "absent.jpg", "."):
        with pytest.raises(CaffeFileError) as caught:
            load_image(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_damage_that_pillow_has_no_word_for_is_named_too(tmp_path):
    box = b"\0\0\0\1jp2h" + (2**50).to_bytes(8, "big")  # a length that no memory holds
    (tmp_path / "box.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + box + bytes(40))
    damaged = {"box.jp2": "claims more than fits into memory"}
    if features.check("avif"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "AVIF")
        (tmp_path / "item.avif").write_bytes(file.getvalue().replace(b"av01", b"av0?"))
        damaged["item.avif"] = "Failed to decode"
    for name, says in damaged.items():
        with pytest.raises(CaffeFileError, match=says):
            load_image(tmp_path / name)
        with pytest.raises(CaffeError, match="not an image"):
            opened((tmp_path / name).read_bytes())


def test_preprocess_is_bgr_minus_mean(photograph):
    blob = preprocess(photograph, VOC.mean)
    assert blob.shape == (1, 3, 24, 37) and blob.dtype.is_floating_point and blob.is_contiguous()
    for channel, mean in enumerate((104.00699, 116.66877, 122.67892)):
        expected = (photograph[:, :, 2 - channel].astype(np.float64) - mean).astype(np.float32)
        assert np.array_equal(blob[0, channel].numpy(), expected)


def test_palette_is_the_development_kit_s():
    colours = voc_palette()
    assert colours.shape == (256, 3)
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    # background, aeroplane, bottle, cow, person, tv/monitor, void
    assert colours[[0, 1, 5, 10, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [128, 0, 128], [64, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]


def test_palette_equals_that_of_the_real_label_images(shared):
    path = next((shared("voc-sample") / "SegmentationClass").glob("*.png"))
    with Image.open(path) as image:
        stored = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    assert np.array_equal(stored, voc_palette()[: len(stored)])


def test_labels_survive_a_round_trip(tmp_path):
    labels = np.arange(256, dtype=np.int64).reshape(8, 32)
    save_labels(tmp_path / "new" / "a.png", labels)
    read = load_labels(tmp_path / "new" / "a.png")
    assert read.dtype == np.uint8 and np.array_equal(read, labels)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert np.array_equal(np.array(image.convert("RGB")), voc_palette()[labels])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_gray_label_images_are_read_as_they_are(tmp_path):
    labels = np.array([[0, 3], [20, 255]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert np.array_equal(load_labels(tmp_path / "a.png"), labels)


def test_coloured_label_images_are_refused(tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    with pytest.raises(CaffeFileError, match="a.png: holds RGB pixels; a label image needs"):
        load_labels(tmp_path / "a.png")


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3)), np.full((2, 3), 256), np.full((2, 3), -1)]
)
def test_no_other_array_is_saved_as_labels(tmp_path, labels):
    with pytest.raises(CaffeError, match="label"):
        save_labels(tmp_path / "a.png", labels)
    assert not list(tmp_path.iterdir())


def test_overlay_tints_all_but_label_zero(photograph):
    labels = np.zeros(photograph.shape[:2], np.uint8)
    labels[:5] = 15
    tinted = overlay(photograph, labels, opacity=0.5)
    assert tinted.dtype == np.uint8 and np.array_equal(tinted[5:], photograph[5:])
    assert np.abs(tinted[:5].astype(float) - (photograph[:5] + np.array([192.0, 128, 128])) / 2).max() <= 0.5
    with pytest.raises(CaffeError, match="37x23 .* 37x24"):
        overlay(photograph, labels[1:])
