from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jsonargparse.typing import SecretStr

from yolo.data.annotations import AnnotatedSet
from yolo.data.encrypted_file import ImageCipher
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.formats.coco import read_coco
from yolo.data.formats.yolo import read_yolo
from yolo.data.keys import EncryptionKey
from yolo.data.loaders import DefaultImageLoader, ImageLoader
from yolo.data.options import BadLabelPolicy
from yolo.errors import UserError

MakeDataset = Callable[..., Path]


def read(
    root: Path,
    images: str | None = None,
    labels: str | None = None,
    policy: BadLabelPolicy = "error",
    loader: ImageLoader = DefaultImageLoader(),  # noqa: B008 (has no state)
) -> AnnotatedSet:
    return read_yolo(root, "train", images, labels, None, policy, loader)


def test_reads_boxes_in_pixels(yolo: MakeDataset) -> None:
    found = read(yolo())
    assert found.class_names == ("cat", "dog")
    assert found.category_ids == (0, 1)
    a, b, c = found.images
    assert [image.path.name for image in found.images] == ["a.jpg", "b.PNG", "c.jpg"]
    assert [image.image_id for image in found.images] == [1, 2, 3]
    assert (a.size, b.size) == ((30, 50), (40, 60))
    np.testing.assert_allclose(a.boxes, [[20, 9, 30, 21]], rtol=1e-6)
    assert a.classes.tolist() == [1]
    np.testing.assert_allclose(a.areas, [120])
    np.testing.assert_allclose(b.boxes, [[0, 0, 30, 40], [0, 2, 18, 6]], atol=1e-5)  # the second one was cut
    assert b.classes.tolist() == [0, 1]
    assert c.boxes.shape == (0, 4), "no label file: background"
    assert not b.crowd.any()


def test_a_polygon_becomes_its_box(yolo: MakeDataset) -> None:
    found = read(yolo("0 0.2 0.1 0.6 0.5 0.4 0.9\n0 0.2 0.1 0.6 0.5 0.4 0.9 0.1 0.3\n"))
    np.testing.assert_allclose(found.images[0].boxes, [[10, 3, 30, 27], [5, 3, 30, 27]], rtol=1e-6)


@pytest.mark.parametrize(
    "label", ["", "\n\n", "1.0 0.5 0.5 0.2 0.4", "1 5e-1 .5 0.2 0.4\r\n", "\ufeff1 0.5 0.5 1.0005 1"]
)
def test_harmless_label_files(yolo: MakeDataset, label: str) -> None:
    assert len(read(yolo(label)).images[0].boxes) == bool(label.strip())


BAD_LINES = [
    ("0 0.5 0.5 0.2", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0 0.5 0.5 0.2 0.4 0.9", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0 0.5 0.5 0.2 0.4 0.9 0.1 0.2", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("cat 0.5 0.5 0.2 0.4", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0.5 0.5 0.5 0.2 0.4", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0 0.5 nan 0.2 0.4", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0 0.5 0.5 inf 0.4", "expected `class cx cy w h` or a polygon", "malformed lines"),
    ("0 120 80 40 30", "expected coordinates divided by the image size (0 to 1)", "coordinates outside 0..1"),
    ("0 -0.1 0.5 0.2 0.4", "expected coordinates divided by the image size (0 to 1)", "coordinates outside 0..1"),
    ("0 0.5 0.5 0 0.4", "expected a box with a width and a height", "boxes without area"),
    ("0 0.5 0.1 0.5 0.2 0.5 0.3", "expected a box with a width and a height", "boxes without area"),
]


@pytest.mark.parametrize(("line", "expected", "reason"), BAD_LINES)
def test_a_bad_line_stops_or_is_counted(yolo: MakeDataset, line: str, expected: str, reason: str) -> None:
    root = yolo(f"1 0.5 0.5 0.2 0.4\n{line}\n")
    where = root / "labels/train/a.txt"
    with pytest.raises(UserError, match=f"{re.escape(f'{where}:2: {expected}')}.*, found {re.escape(repr(line))}"):
        read(root)
    found = read(root, policy="skip")
    assert found.skipped == {reason: 1}
    assert len(found.images[0].boxes) == 1


def test_a_long_line_is_quoted_in_part(yolo: MakeDataset) -> None:
    with pytest.raises(UserError) as caught:
        read(yolo("0 " + "0.123 " * 99))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [2, 7, -1])
def test_a_class_out_of_range_is_always_an_error(yolo: MakeDataset, number: int) -> None:
    root = yolo(f"{number} 0.5 0.5 0.2 0.4\n")
    expected = f"{root / 'labels/train/a.txt'}:1: class {number}, but there are 2 classes (0 to 1)"
    for policy in ("error", "skip"):
        with pytest.raises(UserError, match=re.escape(expected)):
            read(root, policy=policy)


@pytest.mark.parametrize(
    "config",
    [
        "names: [cat, dog]",
        "names: {1: dog, 0: cat}\nnc: 2",
        "names: [cat, dog]\ntrain: images/train",
        "names: [cat, dog]\ntrain: ../images/train",  # Roboflow
        "names: [cat, dog]\npath: images\ntrain: train",
        "names: [cat, dog]\npath: /some/other/machine\ntrain: images/train",
    ],
)
def test_forms_of_data_yaml(yolo: MakeDataset, config: str) -> None:
    found = read(yolo(config=config))
    assert found.class_names == ("cat", "dog")
    assert [len(image.boxes) for image in found.images] == [1, 2, 0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("names: [cat, dog]\nnc: 3", "data.yaml: `nc` is 3, but `names` has 2 entries"),
        ("names: {0: cat, 2: dog}", "data.yaml: `names` has the keys [0, 2], expected 0 to 1"),
        ("names: cat", "data.yaml: `names` is 'cat', expected a list of class names or a mapping 0: name"),
        ("nc: 2", "data.yaml: `names` is None, expected a list of class names or a mapping 0: name"),
        ("names: []", "data.yaml: `names` is [], expected a list of class names or a mapping 0: name"),
        ("names: [cat", "data.yaml: broken YAML ("),
        ("- cat", "data.yaml: expected keys such as `names` and `train`, found list"),
        ("names: [cat, dog]\ntrain: [a, b]", "data.yaml: `train` is ['a', 'b'], expected one folder or .txt list"),
        ("names: [cat, dog]\ntrain: photos", "photos: no such image folder or list file"),
        (None, "data.yaml: no such file, expected it to hold `names: [first class, second class, ...]`"),
    ],
)
def test_a_wrong_data_yaml_is_a_sentence(yolo: MakeDataset, config: str | None, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        read(yolo(config=config))
    assert "\n" not in str(caught.value)


def test_class_names_from_classes_txt(yolo: MakeDataset) -> None:
    root = yolo(config=None)
    (root / "classes.txt").write_text("cat\ndog\n\n")
    assert read(root).class_names == ("cat", "dog")
    (root / "classes.txt").write_text("\n")
    with pytest.raises(UserError, match=re.escape("classes.txt: is empty, expected one class name per line")):
        read(root)


def test_images_and_labels_from_options(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "other").mkdir()
    (root / "other/c.txt").write_text("0 0.5 0.5 0.5 0.5")
    found = read(root, "images/val", "other")
    assert [len(image.boxes) for image in found.images] == [0, 0, 1]
    assert found.images[0].path.parent.name == "val"


def test_a_list_of_images(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "lists").mkdir()
    lines = f"./images/val/c.jpg\n\nimages/train/a.jpg\n{root}/images/train/b.PNG\nimages/train/a.jpg\n"
    (root / "lists/train.txt").write_text(lines)
    found = read(root, "lists/train.txt")
    names = [image.path.relative_to(root).as_posix() for image in found.images]
    assert names == ["images/train/a.jpg", "images/train/b.PNG", "images/val/c.jpg"]
    assert [len(image.boxes) for image in found.images] == [1, 2, 0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("images/train/a.jpg\nno.jpg", "list.txt:2: no such image 'no.jpg', neither beside the list nor in"),
        ("", "list.txt: names no image, expected one path per line"),
    ],
)
def test_a_wrong_list_is_a_sentence(yolo: MakeDataset, content: str, expected: str) -> None:
    root = yolo()
    (root / "list.txt").write_text(content)
    with pytest.raises(UserError, match=re.escape(expected)):
        read(root, "list.txt")


def test_split_file(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "split.txt").write_text("b\nc.jpg")
    found = read_yolo(root, "train", None, None, root / "split.txt", "error", DefaultImageLoader())
    assert [image.path.name for image in found.images] == ["b.PNG", "c.jpg"]


def test_subfolders_are_read_and_hidden_files_are_not(yolo: MakeDataset, write_image: Callable[..., Path]) -> None:
    root = yolo()
    write_image("images/train/deep/d.jpg")
    write_image("images/train/._a.jpg")
    (root / "labels/train/deep").mkdir()
    (root / "labels/train/deep/d.txt").write_text("0 0.5 0.5 0.5 0.5")
    found = read(root)
    assert [image.path.name for image in found.images] == ["a.jpg", "b.PNG", "c.jpg", "d.jpg"]
    assert len(found.images[3].boxes) == 1


def test_labels_beside_the_images_without_an_images_folder(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "images/train").rename(root / "photos")
    (root / "photos/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    assert [len(image.boxes) for image in read(root, "photos").images] == [1, 0, 0]


def test_wrong_folders(yolo: MakeDataset) -> None:
    root = yolo()
    with pytest.raises(UserError, match=re.escape(f"{root / 'nowhere'}: no such image folder or list file")):
        read(root, "nowhere")
    with pytest.raises(UserError, match=re.escape(f"{root / 'labels/train'}: no images, expected files ending in")):
        read(root, "labels/train")
    with pytest.raises(UserError, match=re.escape(f"{root / 'annotations'}: no such label folder for the images of")):
        read(root, None, "annotations")


def test_a_dataset_of_background_alone_is_announced(yolo: MakeDataset, caplog: pytest.LogCaptureFixture) -> None:
    root = yolo()
    (root / "empty").mkdir()
    assert [len(image.boxes) for image in read(root, None, "empty").images] == [0, 0, 0]
    expected = f"{root}/images/train: no image has a label file, expected for example {root}/empty/a.txt"
    assert caplog.messages == [expected]


def test_an_image_that_is_none(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "images/train/a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=re.escape(f"{root / 'images/train/a.jpg'}: not an image that can be read")):
        read(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_bccd_says_the_same_in_both_formats(test_data: Path, split: str) -> None:
    root = test_data / "bccd"
    coco = read_coco(root / f"images/{split}", root / f"annotations/{split}.json", None, "error")
    yolo = read_yolo(root, split, None, None, None, "error", DefaultImageLoader())  # type: ignore[arg-type]
    assert yolo.class_names == coco.class_names
    assert len(yolo.images) == len(coco.images)
    by_name = {image.path: image for image in coco.images}
    for image in yolo.images:
        twin = by_name[image.path]
        assert image.size == twin.size
        assert image.classes.tolist() == twin.classes.tolist()
        height, width = image.size
        np.testing.assert_allclose(image.boxes, twin.boxes.clip(0, [width, height, width, height]), atol=1.5)


def test_coco128_loads_with_defaults(test_data: Path) -> None:
    found = read(test_data / "coco128")
    assert (len(found.images), sum(len(image.boxes) for image in found.images)) == (128, 929)
    assert len(found.class_names) == 80


def encrypt(path: Path, name: str) -> None:
    path.with_name(name).write_bytes(ImageCipher(EncryptionKey(b"k" * 32)).encrypt(path.read_bytes()))
    path.unlink()


def test_encrypted_images(yolo: MakeDataset) -> None:
    root = yolo()
    loader = EncryptedImageLoader(encryption_key=SecretStr(b"k".hex() * 32))
    plain = read(root)
    images = root / "images/train"
    (root / "list.txt").write_text("images/train/a.jpg\nimages/train/b.PNG\nimages/train/c.jpg\n")
    encrypt(images / "a.jpg", "a.jpg.enc")
    encrypt(images / "b.PNG", "b.enc")
    (images / "c.jpg.enc").write_bytes(b"a twin, never read")
    for place in (None, "list.txt"):
        found = read(root, place, loader=loader)
        assert [image.path.name for image in found.images] == ["a.jpg.enc", "b.enc", "c.jpg"]
        assert [image.size for image in found.images] == [image.size for image in plain.images]
        assert all(map(np.array_equal, [i.boxes for i in found.images], [i.boxes for i in plain.images]))
    (root / "split.txt").write_text("a.jpg\nb")
    chosen = read_yolo(root, "train", None, None, root / "split.txt", "error", loader)
    assert [image.path.name for image in chosen.images] == ["a.jpg.enc", "b.enc"]
    assert [image.path.name for image in read(root).images] == ["c.jpg"]


def test_encrypted_images_without_their_loader(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "list.txt").write_text("images/train/a.jpg\n")
    for path in sorted((root / "images/train").iterdir()):
        encrypt(path, f"{path.name}.enc")
    hint = (
        r"; {} encrypted \(\.enc\): read them by data\.image_loader=yolo\.data\.encrypted_loader\.EncryptedImageLoader"
    )
    with pytest.raises(UserError, match="train: no images, expected files ending in .*" + hint.format(3)):
        read(root)
    with pytest.raises(UserError, match=r"list\.txt:1: no such image 'images/train/a\.jpg'.*" + hint.format(1)):
        read(root, "list.txt")
