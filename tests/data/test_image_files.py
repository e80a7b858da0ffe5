from __future__ import annotations

from pathlib import Path

import pytest

from yolo.data.image_files import encrypted_hint, image_stem, names_of, plain_name, variants, without_twins


@pytest.mark.parametrize(
    ("name", "plain", "stem"),
    [
        ("a.jpg", "a.jpg", "a"),
        ("a.v2.jpg", "a.v2.jpg", "a.v2"),
        ("a.jpg.enc", "a.jpg", "a"),
        ("a.v2.PNG.ENC", "a.v2.PNG", "a.v2"),
        ("a.enc", "a", "a"),
        ("a.v2.enc", "a.v2", "a.v2"),
        ("enc.jpg", "enc.jpg", "enc"),
    ],
)
def test_names(name: str, plain: str, stem: str) -> None:
    assert plain_name(Path("x", name)) == plain
    assert image_stem(Path("x", name)) == stem
    assert {name, plain, stem} <= names_of(Path("x", name))


def test_a_name_without_its_old_suffix_may_have_had_any() -> None:
    assert "a.png" in names_of(Path("a.enc"))
    assert "a.png" not in names_of(Path("a.jpg.enc"))


def test_variants() -> None:
    found = variants(Path("x/a.jpg"), {".jpg", ".enc"})
    assert found == [Path("x/a.jpg"), Path("x/a.jpg.enc"), Path("x/a.enc")]
    assert variants(Path("x/a.jpg"), {".jpg"}) == [Path("x/a.jpg")]
    assert variants(Path("x/a.enc"), {".enc"}) == [Path("x/a.enc")]


def test_an_encrypted_twin_does_not_count() -> None:
    paths = [Path(name) for name in ("x/a.jpg", "x/a.jpg.enc", "x/b.jpg.enc", "y/a.enc", "x/a.enc")]
    assert without_twins(paths) == [Path(name) for name in ("x/a.jpg", "x/b.jpg.enc", "y/a.enc")]


def test_hint() -> None:
    assert encrypted_hint(0) == ""
    assert "3 encrypted" in encrypted_hint(3)
    assert "yolo.data.encrypted_loader.EncryptedImageLoader" in encrypted_hint(3)
