from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_dataset import write_dataset
from yolo.commands.picture_output import refuse_dataset_folder
from yolo.data.options import DataOptions
from yolo.errors import UserError


def test_not_into_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, other = tmp_path / "data", tmp_path / "other"
    write_dataset(root)
    (other / "pictures").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root / "images")
    options = DataOptions(format="yolo", root=str(root), val_images=str(other / "pictures"))
    monkeypatch.chdir(root)
    inside = (root, root / "new", root / "images/train", tmp_path / "x/../data", tmp_path / "link/new", Path("aug_viz"))
    for output in (*inside, other / "pictures/new"):
        with pytest.raises(UserError, match="--output lies in the dataset folder"):
            refuse_dataset_folder(output, options)
    for output in (tmp_path, tmp_path / "data2", other):
        refuse_dataset_folder(output, options)


def test_not_among_the_labels(tmp_path: Path) -> None:
    root, other = tmp_path / "data", tmp_path / "other"
    write_dataset(root)
    options = DataOptions(
        format="yolo", root=str(root), train_images=str(other / "images/some"), val_labels=str(other / "texts")
    )
    for output in (other / "labels/some", other / "texts", other / "texts/new"):
        with pytest.raises(UserError, match="--json lies in the dataset folder"):
            refuse_dataset_folder(output, options, "--json")
    refuse_dataset_folder(other / "labels", options)


def test_drawn_images_have_no_folder(tmp_path: Path) -> None:
    refuse_dataset_folder(tmp_path, DataOptions(format="shapes", root=str(tmp_path)))
