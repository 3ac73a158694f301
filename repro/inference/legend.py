"""A legend below an image: the names and colours of its classes."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repro.data.images import voc_palette

PAPER, INK = (255, 255, 255), (30, 30, 30)


def with_legend(picture, entries):
    """Put a legend below an image (RGB uint8 HxWx3): for each (label, text) a square in the label's colour, and the text.

    The image itself does not change. It stays at the top left; where a text is wider, white is added at its right.
    """
    size = max(12, min(28, picture.shape[1] // 36))
    font, gap = ImageFont.load_default(size), size // 2
    widths = [round(font.getlength(text)) + 2 * size + gap for _, text in entries]
    width = max(picture.shape[1], max(widths, default=0) + gap)
    places, x, y = [], gap, gap
    for entry in widths:
        if x > gap and x + entry > width:
            x, y = gap, y + size + gap
        places.append((x, y))
        x += entry
    canvas = Image.new("RGB", (width, picture.shape[0] + y + size + gap), PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for (label, text), (x, y) in zip(entries, places, strict=True):
        y += picture.shape[0]
        draw.rectangle((x, y, x + size - 1, y + size - 1), fill=tuple(voc_palette()[label].tolist()), outline=INK)
        draw.text((x + size + gap, y + size / 2), text, fill=INK, font=font, anchor="lm")
    return np.array(canvas)


def percent(fraction):
    """A fraction as a percentage: "12.3%"; "<0.1%" for one that is not zero but would be rounded to it."""
    return "<0.1%" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f}%"
