from __future__ import annotations

from pathlib import Path

import pytest

from yolo.whole_file import sync_folder, whole_file, whole_files


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "numbers.csv"
    target.write_text("old")
    with whole_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "numbers.csv"
    target.write_text("old")

    def write() -> None:
        with whole_file(target) as partial:
            partial.write_text("ne")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_files_appear_together(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("old")
    with whole_files(tmp_path) as partial:
        (partial / "a.onnx").write_text("new")
        (partial / "a.onnx.json").write_text("{}")
        assert (tmp_path / "a.onnx").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.onnx": "new", "a.onnx.json": "{}"}


def test_after_an_error_none_of_them(tmp_path: Path) -> None:
    def write() -> None:
        with whole_files(tmp_path) as partial:
            (partial / "a.onnx").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as error:
        write()
    assert error.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def folder_of(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "a.txt").write_text(content)
    return path


@pytest.mark.parametrize("before", [True, False])
def test_a_folder_appears_when_it_is_complete(before: bool, tmp_path: Path) -> None:
    target = tmp_path / "model"
    if before:
        (folder_of(target, "old") / "b.txt").write_text("of the old one alone")
    with whole_files(tmp_path) as partial:
        folder_of(partial / "model", "new")
        assert not before or (target / "a.txt").read_text() == "old"
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a.txt": "new"}
    assert list(tmp_path.iterdir()) == [target]


def test_the_old_folder_stays_when_the_new_one_does_not_get_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_of(tmp_path / "model", "old")
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if path.name == "model" and path != target:
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)

    def write() -> None:
        with whole_files(tmp_path) as partial:
            folder_of(partial / "model", "new")

    with pytest.raises(PermissionError):
        write()
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("refused", ["a.rknn", "a.rknn.json", "a.rknn.simulation"])
def test_all_old_files_stay_when_one_new_one_does_not_get_its_name(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a.rknn", "a.rknn.json", "a.rknn.simulation")
    for name in names[:2]:
        (tmp_path / name).write_text("old")
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if to == tmp_path / refused and path.read_text() == "new":
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)

    def write() -> None:
        with whole_files(tmp_path) as partial:
            for name in names:
                (partial / name).write_text("new")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names[:2], "old")


def test_a_folder_is_synced_if_it_can_be(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    sync_folder(tmp_path / "not there")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as error, whole_file(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "a.txt")
