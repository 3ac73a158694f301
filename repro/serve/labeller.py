"""Photographs that were sent, labelled one after the other."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from converters.errors import CaffeError
from repro.data.images import BROKEN_IMAGE, load_image, reason, voc_palette
from repro.inference.legend import percent
from repro.inference.segmentation import areas, segment
from repro.pages import data_uri

# What a camera, a scanner or a browser writes, if Pillow was built with it. Its other readers are not offered to strangers.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM")
# Of a photograph before it is made smaller: a few bytes may claim any number. A JPEG is made smaller as it is decoded.
MOST_PIXELS = 16_000_000
MOST_JPEG_PIXELS = 50_000_000


class Labeller:
    """Labels photographs with several nets, one photograph at a time in the order in which they came.

    nets: {name: CaffeNet}; classes: {name: [class, ...]}; side: photographs are made smaller until neither side is longer.
    """

    def __init__(self, nets, classes, side):
        self.nets, self.classes, self.side = nets, classes, side
        self._queue = ThreadPoolExecutor(max_workers=1)  # first come, first served; callers of any thread wait

    def label(self, data):
        """What an image file's bytes show, ready for JSON; CaffeError for what is not a photograph, or too large.

        {"width", "height", "photograph": data URI, "nets": [{"name", "seconds", "labels": data URI, "areas": [{"name",
        "share", "colour"}]}]}, the size and the pictures being those that the nets saw, and
        label 0 being transparent.
        """
        image = opened(data)
        return self._queue.submit(self._label, image).result()

    def _label(self, image):
        photograph = read_small(image, self.side)
        return {"width": photograph.width, "height": photograph.height,
                "photograph": _written(photograph, "JPEG", quality=90),
                "nets": [self._label_by(name, photograph) for name in self.nets]}

    def _label_by(self, name, photograph):
        began = time.monotonic()
        labels = segment(self.nets[name], photograph)
        seconds = time.monotonic() - began
        names, colours = self.classes[name], voc_palette()
        picture = Image.fromarray(labels)
        picture.putpalette(colours.tobytes())
        shares = [{"name": label, "share": percent(area["fraction"]),
                   "colour": "#{:02x}{:02x}{:02x}".format(*colours[names.index(label)])}
                  for label, area in areas(labels, names).items()]
        return {"name": name, "seconds": round(seconds, 2), "labels": _written(picture, "PNG", transparency=0),
                "areas": shares}


def opened(data):
    """The PIL image, not yet decoded, of an image file's bytes; CaffeError for what is none or claims too many pixels."""
    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise CaffeError(f"the image is too large: {error}") from None
    except BROKEN_IMAGE:
        raise CaffeError("not an image, or an unsupported format: send a JPEG, PNG, GIF, WebP or TIFF") from None
    most = MOST_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MOST_PIXELS
    if image.width * image.height > most:
        raise CaffeError(f"the image is too large: {image.width}x{image.height}, over {most // 10**6} megapixels")
    return image


def read_small(image, side):
    """A photograph upright and in RGB, neither side longer than `side`; made smaller before anything else is made of it."""
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):  # of others, single pixels would be taken
        try:
            image.thumbnail((side, side))
        except BROKEN_IMAGE as error:
            raise CaffeError(f"the image cannot be read as a photograph: {reason(error)}") from None
    photograph = Image.fromarray(load_image(image))
    photograph.thumbnail((side, side))
    return photograph


def _written(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return data_uri(file.getvalue(), f"image/{form.lower()}")
