from __future__ import annotations

from pathlib import Path

import pytest

from yolo.class_names import read_class_names
from yolo.errors import UserError

TRAINED = ("0", "1", "2")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["a", "b", "c"]', ("a", "b", "c")),
        ('{"0": "a", "2": "c"}', ("a", "1", "c")),
        ("red cell\nweiße Zelle\r\nc\n", ("red cell", "weiße Zelle", "c")),
        ('\ufeff["a", "b", "c"]', ("a", "b", "c")),
    ],
)
def test_forms(text: str, names: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / "names", TRAINED) == names


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('["a", "b"]', "2 class names, but the network has 3 classes"),
        ("a\nb\nc\nd", "4 class names"),
        ("", "0 class names"),
        ("a\n\nc", "the name of class 1 is ''"),
        ('["a", 2, "c"]', "the name of class 1 is 2, expected text"),
        ('{"3": "a"}', "class index '3', expected a whole number from 0 to 2"),
        ('{"RBC": 0}', "class index 'RBC'"),
        ('["a",\n "b"', "line 2: not JSON"),
    ],
)
def test_wrong_files(text: str, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(text)
    with pytest.raises(UserError, match=fragment):
        read_class_names(tmp_path / "names", TRAINED)


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_class_names(tmp_path / "names", TRAINED)
    with pytest.raises(UserError, match="no such file of class names"):
        read_class_names(tmp_path / "none", TRAINED)
