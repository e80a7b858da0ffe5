from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from jsonargparse.typing import SecretStr

from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.formats.shapes import ShapesLoader
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions, SourceOptions
from yolo.data.source import choose_loader, confidential, loader_of_run, read_split
from yolo.errors import UserError

MakeDataset = Callable[..., Path]
LOADER = DefaultImageLoader()


def test_coco_defaults(coco: MakeDataset, tmp_path: Path) -> None:
    path = coco()
    root = tmp_path / "root"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "images", root / f"{split}2017")
        shutil.copy(path, root / f"annotations/instances_{split}2017.json")
        images = read_split(SourceOptions(root=str(root)), split, LOADER).images
        assert [image.path.parent.name for image in images] == [f"{split}2017"] * 2


def test_coco_paths_from_options(coco: MakeDataset) -> None:
    path = coco()
    (path.parent / "only.txt").write_text("a")
    options = SourceOptions(
        root=str(path.parent), train_images="images", train_ann=str(path), train_split="only.txt", val_images="nowhere"
    )
    assert len(read_split(options, "train", LOADER).images) == 1
    with pytest.raises(UserError, match="nowhere: no such image folder"):
        read_split(options, "val", LOADER)


def test_yolo(yolo: MakeDataset) -> None:
    root = yolo()
    (root / "only.txt").write_text("a")
    options = SourceOptions(format="yolo", root=str(root), val_split="only.txt", val_labels="labels/train")
    assert len(read_split(options, "train", LOADER).images) == 3
    assert [image.path.parent.name for image in read_split(options, "val", LOADER).images] == ["val"]


def test_shapes_need_no_folder() -> None:
    options = SourceOptions(format="shapes", root="/nowhere", shapes_train=3, shapes_val=2)
    assert len(read_split(options, "train", LOADER).images) == 3
    assert len(read_split(options, "val", LOADER).images) == 2


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_missing_root(form: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(UserError, match=re.escape(f"{root}: no such dataset folder (data.root)")):
        read_split(SourceOptions(format=form, root=str(root)), "train", LOADER)  # type: ignore[arg-type]


def test_loader_that_fits_the_format() -> None:
    mine = DefaultImageLoader()
    assert choose_loader(DataOptions(format="yolo"), mine) is mine
    assert isinstance(choose_loader(DataOptions(), None), DefaultImageLoader)
    loader = choose_loader(DataOptions(format="shapes", shapes_size=99, shapes_seed=5), None)
    assert isinstance(loader, ShapesLoader)
    assert (loader.size, loader.seed) == (99, 5)
    with pytest.raises(UserError, match=r"image_loader is DefaultImageLoader, but data\.format=shapes draws its own"):
        choose_loader(DataOptions(format="shapes"), mine)


def test_the_loader_gets_the_key_of_the_options() -> None:
    key = SecretStr("ab" * 32)
    loader = choose_loader(DataOptions(encryption_key=key), EncryptedImageLoader())
    assert isinstance(loader, EncryptedImageLoader)
    assert loader._key is key
    own = EncryptedImageLoader(encryption_key=SecretStr("cd" * 32))
    assert choose_loader(DataOptions(encryption_key=key), own) is own


def test_the_loader_of_a_run() -> None:
    assert loader_of_run("yolo.data.loaders.FastImageLoader") is None
    assert isinstance(loader_of_run("yolo.data.encrypted_loader.EncryptedImageLoader"), EncryptedImageLoader)
    with pytest.raises(UserError, match=r"trained with mine\.Loader: name a loader by --data\.image_loader"):
        loader_of_run("mine.Loader")


class Custom(DefaultImageLoader):
    """A loader of the user's own, with a part that cannot be pickled."""

    def __init__(self) -> None:
        self.client = lambda: None


def test_a_custom_loader_is_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    choose_loader(DataOptions(), DefaultImageLoader())
    assert not caplog.messages
    choose_loader(DataOptions(num_workers=0), Custom())
    assert caplog.messages == ["using custom image loader: Custom"]


def test_a_loader_that_cannot_be_sent_to_workers() -> None:
    assert isinstance(choose_loader(DataOptions(start_method="fork"), Custom()), Custom)
    assert isinstance(choose_loader(DataOptions(start_method="spawn", num_workers=0), Custom()), Custom)
    with pytest.raises(
        UserError, match=r"image_loader Custom cannot be sent to worker processes \(.*start_method=fork"
    ):
        choose_loader(DataOptions(start_method="spawn"), Custom())


def test_encrypted_images_get_no_cache_in_clear() -> None:
    options, loader = DataOptions(format="yolo", cache_images="ram", num_workers=0), EncryptedImageLoader()
    with pytest.raises(UserError, match="the cache would hold them in clear"):
        choose_loader(options, loader)
    for other in (replace(options, cache_encrypt=True), replace(options, cache_images="none")):
        assert isinstance(choose_loader(other, loader), EncryptedImageLoader)


def test_confidential_is_what_is_encrypted_where_it_lies() -> None:
    assert not confidential(DataOptions(), LOADER)
    assert confidential(DataOptions(cache_encrypt=True), LOADER)
    assert confidential(DataOptions(), EncryptedImageLoader())
