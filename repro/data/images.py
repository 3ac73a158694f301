"""Photographs and label images: reading, Caffe's preprocessing, the VOC palette, overlays."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import ExifTags, Image

from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath, atomic_write
from converters.formats.blob import dims_text

VOID = 255  # the label of a pixel that is neither trained on nor scored

# What Pillow raises on damaged files, depending on the format and on where the damage is. AVIF's reader raises RuntimeError;
# JPEG 2000's asks for as much memory as a damaged length says.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError, Image.DecompressionBombError)


def load_image(source: FilePath | Image.Image, upright: bool = True) -> np.ndarray:
    """Read a photograph (a path or a PIL image) as RGB, uint8, HxWx3, turned upright as its EXIF data says.

    upright: false leaves the image as it is stored. Caffe reads it so, and its labels lie so.

    Grayscale, palette and CMYK images are converted. 16-bit gray becomes 8-bit gray. A transparent image is laid on white.
    Of an animation the first picture is read. Raises CaffeFileError for a file that is missing, damaged or not an image,
    and for floating-point or 32-bit pixels, whose range is not known.
    """
    if not isinstance(source, Image.Image):
        with _open(source) as image:
            return load_image(image, upright)
    name = getattr(source, "filename", None) or "image"
    try:
        return np.array(_to_rgb(_turned(source) if upright else source))
    except BROKEN_IMAGE as error:
        raise CaffeFileError(name, f"cannot be read as a photograph: {reason(error)}") from error


def frames(path):
    """How many pictures an image file holds: more than 1 for an animation, of which `load_image` reads the first."""
    with _open(path) as image:
        try:
            return image.n_frames if getattr(image, "is_animated", False) and image.format != "MPO" else 1
        except BROKEN_IMAGE as error:
            raise CaffeFileError(path, f"cannot be read as a photograph: {reason(error)}") from error


def preprocess(image: np.ndarray, mean: Sequence[float] | float, channels: str = "bgr", scale: float = 1) -> torch.Tensor:
    """Make Caffe's input from a photograph: RGB uint8 HxWx3 to float32 1x3xHxW, (image - mean) * scale.

    channels: the order that the net needs, "bgr" or "rgb"; `mean` is in the same order.
    """
    blob = (image[:, :, ::-1] if channels == "bgr" else image).astype(np.float32)
    blob -= np.array(mean)
    blob *= scale
    return torch.from_numpy(np.ascontiguousarray(blob.transpose(2, 0, 1)))[None]


def voc_palette():
    """The colours of the VOC development kit, uint8 256x3.

    A label's bits are taken in threes, from the lowest. Each three give red, green and blue one bit, from the highest.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            palette[:, channel] |= (labels >> (3 * place + channel) & 1).astype(np.uint8) << (7 - place)
    return palette


def load_labels(path):
    """Read a label image as uint8 HxW: the palette indices (or gray values) as they are stored; 255 is void.

    Raises CaffeFileError for a file that is missing or damaged, or that holds colours instead of labels.
    """
    with _open(path) as image:
        if image.mode not in ("P", "L"):
            needed = "a label image needs to be a palette or 8-bit gray PNG whose values are the labels"
            raise CaffeFileError(path, f"holds {image.mode} pixels; {needed}")
        try:
            return np.array(image)
        except BROKEN_IMAGE as error:
            raise CaffeFileError(path, f"cannot be read as a label image: {reason(error)}") from error


def load_gray(path):
    """Read an image with one channel of 8 or 16 bits as float32 HxW: the values as they are stored."""
    with _open(path) as image:
        if image.mode != "L" and not image.mode.startswith("I"):
            raise CaffeFileError(path, f"holds {image.mode} pixels; it needs one gray channel of 8 or 16 bits")
        try:
            return np.array(image).astype(np.float32)
        except BROKEN_IMAGE as error:
            raise CaffeFileError(path, f"cannot be read as an image: {reason(error)}") from error


def save_labels(path, labels):
    """Write a label map (integers 0 to 255, HxW) as a PNG with the VOC palette, whole or not at all."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise CaffeError(f"{path}: a label map needs to be integers HxW, not {labels.dtype} of shape "
                         f"{dims_text(labels.shape)}")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
        raise CaffeError(f"{path}: the labels run from {labels.min()} to {labels.max()}; a label image can hold 0 to 255")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(voc_palette().tobytes())
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")


def overlay(image, labels, opacity=0.6):
    """Tint a photograph (RGB uint8 HxWx3) with the palette colours of its labels (HxW), but not where they are 0."""
    if image.shape[:2] != labels.shape:
        raise CaffeError(f"a label map of {size_of(labels)} cannot be laid over a photograph of {size_of(image)}: the sizes "
                         "must be equal")
    tinted = (1 - opacity) * image + opacity * voc_palette()[labels]
    return np.where((labels == 0)[:, :, None], image, tinted.round().astype(np.uint8))


def size_of(array):
    """The size of an image or label map, "WIDTHxHEIGHT"."""
    return f"{array.shape[1]}x{array.shape[0]}"


def reason(error: Exception) -> str:
    """One of BROKEN_IMAGE in words, without the file's name."""
    words = "it claims more than fits into memory" if isinstance(error, MemoryError) else str(error)
    return getattr(error, "strerror", None) or words


def _open(path):
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise CaffeFileError(path, "no such file") from error
    except Image.UnidentifiedImageError as error:
        raise CaffeFileError(path, "not an image, or an unsupported format") from error
    except BROKEN_IMAGE as error:
        raise CaffeFileError(path, f"cannot be opened as an image: {reason(error)}") from error


TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}  # by the EXIF orientation


def _turned(image):
    """A picture turned as its EXIF orientation says; where that cannot be read, as it is stored."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises whatever a damaged EXIF block leads it to
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image):
    if image.mode.startswith("I"):
        # Pillow would clip at 255. Scale 16 bits to 8 instead.
        values = np.array(image).astype(np.int32, copy=False)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values run from {values.min()} to {values.max()}, beyond 16 bits; save it with 8 bits "
                             "per channel")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("it holds floating-point pixels; save it with 8 bits per channel")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")
