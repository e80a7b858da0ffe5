"""Reading of good archives; test_unpack.py has the hostile ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.data.cache.test_unpack import flipped, whole
from yolo.data.cache.archive_reader import ArchiveReader
from yolo.errors import UserError


def nothing() -> None:
    pass


def test_data_comes_out_in_pieces_and_the_end_is_checked(tmp_path: Path) -> None:
    data, path, ticks = b"d" * ((3 << 20) + 5), tmp_path / "a.tar", []
    path.write_bytes(whole(data))
    with path.open("rb") as file:
        reader, target = ArchiveReader(path, file), io.BytesIO()
        assert reader.manifest.data_bytes == len(data)
        reader.write_data(target, lambda: ticks.append(1))
        reader.finish()
    assert target.getvalue() == data
    assert len(ticks) == 4


def test_a_changed_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(flipped(whole(b"d" * 9000), 5000))
    with path.open("rb") as file:
        reader = ArchiveReader(path, file)
        with pytest.raises(UserError, match=r"a\.tar: .*sha256 differs"):
            reader.write_data(io.BytesIO(), nothing)
