from __future__ import annotations

from pathlib import Path

import pytest

from yolo.data.cache_folder import VARIABLE, dataset_cache_dir
from yolo.data.options import DataOptions
from yolo.errors import UserError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def folder(root: Path | str, cache_dir: str | None = None) -> Path:
    return dataset_cache_dir(DataOptions(root=str(root), cache_dir=cache_dir))


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = folder(tmp_path / "coco")
    assert default.parent == tmp_path / "home" / ".cache" / "yolo"
    assert default.name.startswith("coco-")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert folder(tmp_path / "coco") == tmp_path / "xdg" / "yolo" / default.name
    monkeypatch.setenv(VARIABLE, "~/mine")
    assert folder(tmp_path / "coco") == tmp_path / "home" / "mine" / default.name
    assert folder(tmp_path / "coco", "here") == Path("here")
    assert list(tmp_path.iterdir()) == []


def test_each_dataset_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "coco").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "coco")
    assert folder(tmp_path / "a" / "coco") != folder(tmp_path / "b" / "coco")
    assert folder(tmp_path / "link") == folder(tmp_path / "a" / "coco")
    monkeypatch.chdir(tmp_path / "a")
    assert folder("coco") == folder("./coco/") == folder(tmp_path / "a" / "coco")


@pytest.mark.parametrize("root", ["/", "ü" * 200, "loop"])
def test_odd_folders(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert 1 <= len(folder(root).name.encode()) <= 200


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UserError, match=VARIABLE):
        folder("coco")
