from __future__ import annotations

from pathlib import Path

import pytest

from yolo.whole_file import sync_folder, whole_file, whole_folder


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


def test_a_folder_is_synced_if_it_can_be(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    sync_folder(tmp_path / "not there")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as error, whole_file(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "a.txt")


def folder_of(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "a.txt").write_text(content)
    return path


@pytest.mark.parametrize("before", [True, False])
def test_a_folder_appears_when_it_is_complete(before: bool, tmp_path: Path) -> None:
    target = tmp_path / "model"
    if before:
        folder_of(target, "old")
    with whole_folder(target) as partial:
        folder_of(partial, "new")
        assert not before or (target / "a.txt").read_text() == "old"
    assert (target / "a.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, None])  # without one, there is no folder to give the name
def test_the_old_folder_stays_when_there_is_no_new_one(error: type[Exception] | None, tmp_path: Path) -> None:
    target = folder_of(tmp_path / "model", "old")

    def write() -> None:
        with whole_folder(target):
            if error:
                raise error("disk")

    with pytest.raises(error or FileNotFoundError):
        write()
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
