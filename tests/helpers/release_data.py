"""Small data sets in the layouts that the release trains on, their files written as the originals are."""

import numpy as np
from PIL import Image
from scipy.io import savemat

import reference

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def random_images(ids, height=40, width=52, channels=3):
    """{id: random uint8 HxWx3}"""
    numbers = np.random.RandomState(7)
    return {id: numbers.randint(0, 256, (height, width, channels)).astype(np.uint8) for id in ids}


def random_labels(ids, low, high, dtype=np.uint8, height=40, width=52):
    """{id: random labels HxW from low to high, both among them}; 4x4 pixels have one label."""
    numbers = np.random.RandomState(8)
    labels = {}
    for id in ids:
        labels[id] = numbers.randint(low, high + 1, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1).astype(dtype)
        labels[id][0, :2] = low, high
    return labels


def save_images(folder, suffix, images, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for id, image in images.items():
        Image.fromarray(image).save(folder / f"{prefix}{id}{suffix}")


def save_mats(folder, key, labels, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for id, values in labels.items():
        savemat(folder / f"{prefix}{id}.mat", {key: values})


def save_list(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{id}\n" for id in ids))


def write_sbd(folder, ids=("2008_000002", "2008_000003")):
    """benchmark_RELEASE/dataset: JPEGs, and a struct GTcls for each."""
    save_images(folder / "img", ".jpg", random_images(ids))
    (folder / "cls").mkdir()
    for id, labels in random_labels(ids, 0, 20).items():
        savemat(folder / "cls" / f"{id}.mat", {"GTcls": {"Boundaries": np.zeros((20, 1)), "Segmentation": labels}})
    save_list(folder / "train.txt", ids)


def write_nyud(folder, split="trainval", ids=("5001", "5002", "5003")):
    """Color and HHA of 8 bits, depth of 16, labels of 0 (void) to 40."""
    color, hha = random_images(ids), {id: 255 - image for id, image in random_images(ids).items()}
    depth = {id: (image[:, :, 0].astype(np.uint16) + 1) * 30 for id, image in color.items()}
    labels = random_labels(ids, 0, 40)
    save_images(folder / "data" / "images", ".png", color, "img_")
    save_images(folder / "data" / "hha", ".png", hha, "img_")
    save_images(folder / "data" / "depth", ".png", depth, "img_")
    save_mats(folder / "segmentation", "segmentation", labels, "img_")
    save_list(folder / f"{split}.txt", ids)
    return color, hha, depth, labels


def write_siftflow(folder, split="trainval", ids=("coast_a1", "street_b2")):
    """Semantic labels of 0 (void) to 33, geometric of -1 (void) to 3."""
    sem, geo = random_labels(ids, 0, 33), random_labels(ids, -1, 3, np.int16)
    save_images(folder / "Images" / SCENES, ".jpg", random_images(ids))
    save_mats(folder / "SemanticLabels" / SCENES, "S", sem)
    save_mats(folder / "GeoLabels" / SCENES, "S", geo)
    save_list(folder / f"{split}.txt", ids)
    return sem, geo


def write_pascalcontext(voc, context, split="train", ids=("2008_000008", "2008_000015")):
    """VOC2010's photographs, and labels of 1 to 6 named in labels.txt; returns these labels and the names."""
    names = ["accordion", "sky", "table", "cloth", "bedclothes", "potted plant"]
    own = {"diningtable", "clothes", "bedcloth", "sky", "pottedplant"}
    names += [name for name in reference.classes("pascalcontext")[1:] if name not in own]
    labels = random_labels(ids, 1, 6, np.uint16)
    save_images(voc / "JPEGImages", ".jpg", random_images(ids))
    save_list(voc / "ImageSets" / "Main" / f"{split}.txt", ids)
    save_mats(context / "trainval", "LabelMap", labels)
    (context / "labels.txt").write_text("".join(f"{number}: {name}\n" for number, name in enumerate(names, start=1)))
    return labels, names
