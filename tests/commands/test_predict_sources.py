from __future__ import annotations

from pathlib import Path

import pytest

from yolo.commands.predict_sources import Source, drawn_name, left_out, list_images, list_sources
from yolo.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def drawn(sources: list[Source]) -> list[str]:
    return [source.drawn.as_posix() for source in sources]


def test_a_file_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.xyz")
    assert list_sources(tmp_path / "a.xyz") == [Source(tmp_path / "a.xyz", Path("a.xyz"), Path("a"))]


def test_images_of_a_folder_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", ".hidden.jpg", "notes.txt", "film.mp4", "sub/c.jpg", "d.jpg/e.jpg")
    assert drawn(list_sources(tmp_path)) == ["a.jpg", "b.PNG"]


def test_a_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg.enc")
    with pytest.raises(UserError, match=r"no images in this folder.*1 encrypted"):
        list_images(tmp_path, {".jpg"})


def test_a_folder_of_videos_alone(tmp_path: Path) -> None:
    touch(tmp_path, "film.mov", "b.txt")
    with pytest.raises(UserError, match=r"no images in this folder.*; of a folder images alone .*/\*\.mov'"):
        list_images(tmp_path, {".jpg"})


def test_what_is_left_out_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.gif", "c.GIF", "film.mp4", ".hidden", "sub/d.gif")
    assert left_out(tmp_path, list_sources(tmp_path)) == {".gif": 2, ".mp4": 1}
    assert not left_out(tmp_path / "b.gif", list_sources(tmp_path / "b.gif"))


def test_equal_names_in_the_folders_of_a_glob_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path, "x/images/a.jpg", "y/images/a.jpg", "y/images/notes.txt", "y/other/b.jpg")
    sources = list_sources(tmp_path / "*" / "images" / "*")
    assert drawn(sources) == ["x/images/a.jpg", "y/images/a.jpg"]
    assert [source.stem.as_posix() for source in sources] == ["x/images/a", "y/images/a"]


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.png", "a/b/3.jpg", "a/film.MP4", "a/.4.jpg")
    assert drawn(list_sources(tmp_path / "a" / "*.jpg")) == ["1.jpg"]
    assert drawn(list_sources(tmp_path / "a" / "**" / "*.jpg")) == ["1.jpg", "b/3.jpg"]
    assert drawn(list_sources(tmp_path / "a" / "?.[jp]*")) == ["1.jpg", "2.png"]
    films = list_sources(tmp_path / "a" / "f*")
    assert drawn(films) == ["film.mp4"]
    assert films[0].is_video
    monkeypatch.chdir(tmp_path)
    assert drawn(list_sources(Path("*/*.png"))) == ["a/2.png"]


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "a1.jpg")
    assert drawn(list_sources(tmp_path / "a[1].jpg")) == ["a[1].jpg"]


def test_a_folder_with_brackets_can_have_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "br[1]/a[2]/1.jpg", "br[1]/b/2.jpg", "br1/3.jpg")
    assert drawn(list_sources(tmp_path / "br[1]" / "a[2]" / "*.jpg")) == ["1.jpg"]
    assert drawn(list_sources(tmp_path / "br[1]" / "**" / "*.jpg")) == ["a[2]/1.jpg", "b/2.jpg"]
    assert drawn(list_sources(tmp_path / "br[0-9]" / "*.jpg")) == ["br1/3.jpg"]


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "other/plain.jpg")
    with pytest.raises(UserError, match=r"o\*\*/plain\.jpg: "):
        list_sources(tmp_path / "o**" / "plain.jpg")


def test_results_never_leave_the_output_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "1.jpg")
    sources = list_sources(tmp_path / "a" / ".." / "*" / ".." / "*.jpg")
    assert all(not source.drawn.is_absolute() and ".." not in source.drawn.parts for source in sources)
    assert len(sources) == 1


def test_equal_stems_get_different_labels(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "A.bmp")
    sources = list_sources(tmp_path)
    assert [source.stem.name for source in sources] == ["A", "a.jpg", "a.png"]
    assert len(set(drawn(sources))) == 3


def test_two_encrypted_images_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", "0" * 64)
    touch(tmp_path, "a.enc", "a.jpg.enc")
    assert drawn(list_sources(tmp_path)) == ["a.jpg", "a_2.jpg"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "a.jpg"), ("a.jpg.enc", "a.jpg"), ("a.enc", "a.jpg"), ("film.AVI", "film.mp4"), ("a.tif", "a.tif")],
)
def test_names_of_drawn_copies(name: str, expected: str) -> None:
    assert drawn_name(Path(name)) == expected


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: no such image or folder"):
        list_sources(tmp_path / "none")
    touch(tmp_path, "notes.txt")
    with pytest.raises(UserError, match=r"\*.txt: 1 files match, none of them an image or video"):
        list_sources(tmp_path / "*.txt")
    with pytest.raises(UserError, match="0 files match"):
        list_sources(tmp_path / "no" / "*.jpg")
