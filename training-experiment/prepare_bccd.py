"""BCCD (blood cells, MIT licence) from its Pascal VOC files to COCO and YOLO form, official splits.

    python training-experiment/prepare_bccd.py --source BCCD_Dataset --output bccd      # a local copy
    python training-experiment/prepare_bccd.py --download --output bccd                 # 8 MB from GitHub

The source is the repository's folder or its .zip. One output folder serves both formats: images/SPLIT,
labels/SPLIT/*.txt and data.yaml for YOLO, annotations/SPLIT.json for COCO. Boxes keep the pixel numbers of the VOC
files; boxes without area are left out and counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

URL = "https://github.com/Shenggan/BCCD_Dataset/archive/d272fb14cdff6e473fafeeeba32aba5f560e9e43.zip"
CLASSES = ("RBC", "WBC", "Platelets")
SPLITS = ("train", "val", "test")


class Picture(NamedTuple):
    """One image of the dataset."""

    path: Path
    width: int
    height: int
    objects: list[tuple[int, float, float, float, float]]
    """(class, x1, y1, x2, y2) in pixels."""
    dropped: int
    """Boxes left out because they have no area."""


def read_picture(root: Path, name: str) -> Picture:
    """One image of the VOC folder `root` and its objects."""
    file = root / "Annotations" / f"{name}.xml"
    try:
        tree = ET.parse(file)
    except ET.ParseError as error:
        sys.exit(f"error: {file}: not readable as XML: {error}")
    width, height = (int(tree.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    boxes = []
    for item in tree.iter("object"):
        label = item.findtext("name", "")
        if label not in CLASSES:
            sys.exit(f"error: {file}: class {label!r}, expected one of {', '.join(CLASSES)}")
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append((CLASSES.index(label), x1, y1, x2, y2))
    objects = [box for box in boxes if box[3] > box[1] and box[4] > box[2]]
    return Picture(root / "JPEGImages" / f"{name}.jpg", width, height, objects, len(boxes) - len(objects))


def yolo_lines(picture: Picture) -> str:
    """`class cx cy w h` per object, as fractions of the image."""
    return "".join(
        f"{label} {(x1 + x2) / 2 / picture.width:.6f} {(y1 + y2) / 2 / picture.height:.6f} "
        f"{(x2 - x1) / picture.width:.6f} {(y2 - y1) / picture.height:.6f}\n"
        for label, x1, y1, x2, y2 in picture.objects
    )


def coco_file(pictures: list[Picture]) -> dict[str, Any]:
    """The contents of a COCO annotation file."""
    images = [
        {"id": number, "file_name": picture.path.name, "width": picture.width, "height": picture.height}
        for number, picture in enumerate(pictures, 1)
    ]
    boxes = [(number, *box) for number, picture in enumerate(pictures, 1) for box in picture.objects]
    annotations = [
        {"id": number, "image_id": image, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        for number, (image, label, x1, y1, x2, y2) in enumerate(boxes, 1)
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_split(root: Path, split: str, output: Path) -> None:
    """Write one split in both forms and say what is in it."""
    names = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    pictures = [read_picture(root, name) for name in names]
    for kind in ("images", "labels"):
        (output / kind / split).mkdir(parents=True)
    for picture in pictures:
        shutil.copyfile(picture.path, output / "images" / split / picture.path.name)
        (output / "labels" / split / f"{picture.path.stem}.txt").write_text(yolo_lines(picture))
    (output / "annotations").mkdir(exist_ok=True)
    (output / "annotations" / f"{split}.json").write_text(json.dumps(coco_file(pictures)))
    boxes, dropped = (sum(counts) for counts in zip(*((len(p.objects), p.dropped) for p in pictures), strict=True))
    print(f"{split}: {len(pictures)} images, {boxes} boxes, {dropped} without area left out")


def prepare(source: Path, output: Path) -> None:
    """Write the whole dataset to `output`, which appears only when it is complete."""
    root = next((path.parent for path in sorted(source.rglob("ImageSets"))), None)
    if root is None:
        sys.exit(f"error: {source}: no ImageSets folder in it, expected a copy of the BCCD_Dataset repository")
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for split in SPLITS:
            write_split(root, split, partial)
        names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
        splits = "".join(f"{split}: images/{split}\n" for split in SPLITS)
        (partial / "data.yaml").write_text(f"path: .\n{splits}nc: {len(CLASSES)}\nnames:\n{names}")
        partial.rename(output)
    except OSError as error:
        sys.exit(f"error: {error}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"written to {output}")


def download(target: Path) -> None:
    """Fetch the repository's archive."""
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except urllib.error.URLError as error:
        sys.exit(f"error: {URL} cannot be fetched ({error.reason}): fetch it elsewhere and give it with --source")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--source", type=Path, help="folder or .zip with a copy of the BCCD_Dataset repository")
    where.add_argument("--download", action="store_true", help="fetch that repository")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must not exist")
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"error: {args.output} exists already")
    if args.source and not args.source.exists():
        sys.exit(f"error: {args.source}: no such file or folder")
    with tempfile.TemporaryDirectory() as scratch:
        source = args.source or Path(scratch) / "bccd.zip"
        if args.download:
            download(source)
        if source.is_file():
            if not zipfile.is_zipfile(source):
                sys.exit(f"error: {source}: not a .zip archive")
            zipfile.ZipFile(source).extractall(Path(scratch) / "unpacked")
            source = Path(scratch) / "unpacked"
        prepare(source, args.output)


if __name__ == "__main__":
    main()
