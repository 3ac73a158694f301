"""Drawing the miniature's photographs and their labels.

Everything is drawn with the `numpy.random.Generator` that is passed in, so that a seed always gives the same pictures.
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from repro.data.images import VOID
from repro.miniature.objects import KINDS, noise

CLASSES = ("background", *KINDS)
SUPERSAMPLE = 3
SIZES = 60, 110  # of an object, in pixels


def draw_scene(rng):
    """Draw two to five objects, some overlapping or partly outside.

    Returns the photograph (H x W x 3, uint8, RGB) and its labels (H x W, uint8): indices into CLASSES, and VOID along
    the outside of every outline.
    """
    height, width = rng.integers(112, 137), rng.integers(128, 161)
    if rng.random() < 0.25:
        height, width = width, height
    picture = draw_background(rng, height, width)
    labels = np.zeros((height, width), np.uint8)
    for centre in scatter(rng, rng.integers(2, 6)) * (width, height):
        index = int(rng.integers(1, len(CLASSES)))
        cover = draw_object(rng, picture, index, centre, rng.uniform(*SIZES))
        inside = cover > 0.5
        # Void lies outside the object only: a thin part with void on its inside would have no label left.
        labels[ndimage.binary_dilation(inside)] = VOID
        labels[inside] = index
    return develop(rng, picture), labels


def draw_single(rng, index, size=128):
    """Draw one object of class `index` as scenes show it.

    Returns the photograph (size x size x 3, uint8, RGB) and the object's centre (x, y).
    """
    picture = draw_background(rng, size, size)
    scale = rng.uniform(*SIZES)
    slack = max(size - scale, 0) / 2 + 0.1 * scale
    centre = size / 2 + rng.uniform(-slack, slack, 2)
    draw_object(rng, picture, index, centre, scale)
    return develop(rng, picture), centre


def draw_object(rng, picture, index, centre, size):
    """Draw an object of class `index`, `size` pixels large, about `centre` (x, y) into a picture (H x W x 3, 0 to 1).

    Returns its cover (H x W, 0 to 1): the part of each pixel that the object hides.
    """
    kind = KINDS[CLASSES[index]]
    height, width = picture.shape[:2]
    frame = random_frame(rng, size)
    thin = rng.uniform(0.045, 0.06) * size

    canvas_size = width * SUPERSAMPLE, height * SUPERSAMPLE
    cover, textured = Image.new("L", canvas_size), Image.new("L", canvas_size)
    for part in kind.shape(rng):
        points = [tuple(point) for point in (part.points @ frame.T + centre) * SUPERSAMPLE]
        if part.width:
            line = round(max(part.width * thin, 3) * SUPERSAMPLE)
            ImageDraw.Draw(cover).line(points, 255, line, joint="curve")
            ImageDraw.Draw(textured).line(points, 0, line, joint="curve")
        else:
            ImageDraw.Draw(cover).polygon(points, 255)
            ImageDraw.Draw(textured).polygon(points, 255)
    cover, textured = (np.asarray(canvas.reduce(SUPERSAMPLE), np.float32) / 255 for canvas in (cover, textured))

    rows, columns = np.mgrid[:height, :width] + 0.5
    inverse = np.linalg.inv(frame)
    x, y = np.einsum("ij,jhw->ihw", inverse, np.stack([columns - centre[0], rows - centre[1]]))
    behind = np.average(picture, axis=(0, 1), weights=cover) if cover.any() else 0
    limbs = max((random_colour(rng, kind.hue) for _ in range(3)), key=lambda colour: np.abs(colour - behind).sum())
    light, dark = limbs * rng.uniform(0.9, 1.3), limbs * rng.uniform(0.25, 0.5)
    first, second = (light, dark) if rng.random() < 0.5 else (dark, light)
    colour = blend(limbs, blend(first, second, kind.texture(rng, x, y)), textured)
    direction = rng.uniform(0, 2 * np.pi)
    colour = colour * (1 + 0.35 * (x * np.cos(direction) + y * np.sin(direction)))[..., None]
    picture[:] = blend(picture, colour, cover)
    return cover


def draw_background(rng, height, width):
    """Waves, blobs or grain over a gradient, and some loose fragments (H x W x 3, float32, 0 to 1)."""
    rows, columns = np.mgrid[:height, :width] / 100
    angle = rng.uniform(0, 2 * np.pi)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    first, second = random_colour(rng, rng.random()), random_colour(rng, rng.random())
    pattern = rng.integers(3)
    if pattern == 0:
        mixed = 0.5 + 0.5 * np.sin(along * rng.uniform(10, 60))
    elif pattern == 1:
        mixed = np.clip(4 * (noise(rng, columns, rows, rng.uniform(0.1, 0.4)) - 0.5), 0, 1)
    else:
        mixed = noise(rng, columns, rows, rng.uniform(0.02, 0.08))
    picture = blend(first, second, 0.4 * mixed + 0.3 * along)

    canvas = Image.new("L", (width, height))
    for _ in range(rng.integers(0, 5)):
        canvas.paste(0, (0, 0, width, height))
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(5, 30, 2)
        corners = corners + rng.uniform(0, 1, 2) * (width, height)
        ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in corners], 255)
        fragment = np.asarray(canvas, np.float32) / 255
        picture = blend(picture, random_colour(rng, rng.random()), 0.6 * fragment)
    return picture.astype(np.float32)


def develop(rng, picture):
    """The picture as a camera gives it: uneven light, some noise, 8 bits."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width] / 100
    light = rng.uniform(0.8, 1.1) + 0.3 * (noise(rng, columns, rows, 0.8) - 0.5)
    picture = picture * light[..., None] + rng.normal(0, 0.025, picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def scatter(rng, number):
    """Centres for so many objects (number x 2, as shares of width and height), each the loneliest of three places."""
    centres = []
    for _ in range(number):
        tried = rng.uniform(0.12, 0.88, (3, 2))
        room = [min((np.linalg.norm(place - centre) for centre in centres), default=0) for place in tried]
        centres.append(tried[np.argmax(room)])
    return np.array(centres)


def random_frame(rng, size):
    """The 2 x 2 matrix from an object's own frame to pixels: perhaps mirrored, a little stretched, a little turned."""
    angle = rng.normal(0, 0.2)
    c, s = np.cos(angle), np.sin(angle)
    return size * np.array([[c, -s], [s, c]]) @ np.diag([rng.choice([-1, 1]) * rng.uniform(0.85, 1.15), 1])


def random_colour(rng, hue):
    return np.array(colorsys.hsv_to_rgb((hue + rng.normal(0, 0.12)) % 1, rng.uniform(0.15, 0.8), rng.uniform(0.3, 1)))


def blend(back, front, cover):
    """`front` over `back` where `cover` (H x W, 0 to 1) says so."""
    return back + (front - back) * cover[..., None]
