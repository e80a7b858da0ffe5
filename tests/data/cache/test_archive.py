from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.data.cache.small_cache import NAME, make_cache
from yolo.data.cache.archive import describe, exportable_bytes, write_archive
from yolo.data.cache.archive_reader import ArchiveReader
from yolo.data.cache.compression import Compression
from yolo.data.cache.header import DATA_FILE
from yolo.data.cache.manifest import mebibytes
from yolo.errors import UserError


def nothing() -> None:
    pass


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_what_is_written_is_read(compression: Compression, tmp_path: Path) -> None:
    folder = make_cache(tmp_path / NAME)
    content = (folder / DATA_FILE).read_bytes()
    manifest = describe(folder, nothing)
    assert exportable_bytes(folder) == manifest.data_bytes == len(content)
    path = tmp_path / "archive"
    write_archive(folder, manifest, path, compression, nothing)
    first = path.read_bytes()
    write_archive(folder, manifest, path, compression, nothing)
    assert path.read_bytes() == first
    with path.open("rb") as file, (tmp_path / "data").open("wb") as target:
        reader = ArchiveReader(path, file)
        assert reader.manifest == manifest
        reader.write_data(target, nothing)
        reader.finish()
    assert (tmp_path / "data").read_bytes() == content


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    folder = make_cache(tmp_path / NAME)
    write_archive(folder, describe(folder, nothing), tmp_path / "a.tar.gz", "gzip", nothing)
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames() == ["manifest.json", DATA_FILE]
        member = archive.getmember(DATA_FILE)
        assert (member.mode, member.mtime, member.uid, member.uname) == (0o644, 0, 0, "")
        content = archive.extractfile(member)
        assert content is not None
        assert content.read() == (folder / DATA_FILE).read_bytes()


def test_sizes_beyond_eight_gib_fit_a_header() -> None:
    from yolo.data.cache.archive import _tar_header

    block = _tar_header(DATA_FILE, 50 << 30)
    assert len(block) == 512
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == 50 << 30


def test_one_tick_for_each_mebibyte(tmp_path: Path) -> None:
    folder = make_cache(tmp_path / NAME, images=300)
    ticks: list[None] = []
    manifest = describe(folder, lambda: ticks.append(None))
    assert len(ticks) == mebibytes(manifest.data_bytes) > 1


def test_a_cache_that_changes_meanwhile(tmp_path: Path) -> None:
    folder = make_cache(tmp_path / NAME)
    manifest = describe(folder, nothing)
    data = bytearray((folder / DATA_FILE).read_bytes())
    data[9000] ^= 1
    (folder / DATA_FILE).write_bytes(data)
    with pytest.raises(UserError, match="has changed while it was being exported"):
        write_archive(folder, manifest, tmp_path / "a.tar", "none", nothing)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("name", [".yolo_cache_64x64_f1.0.partial", "cache", ".yolo_cache_64 x 64", ".yolo_cache_ü"])
def test_names_that_no_archive_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be exported"):
        exportable_bytes(make_cache(tmp_path / name))


def test_what_shrinks_so_much_that_no_import_would_take_it(tmp_path: Path) -> None:
    folder = make_cache(tmp_path / NAME)
    with (folder / DATA_FILE).open("r+b") as file:
        file.truncate(80 << 20)
    with pytest.raises(UserError, match="--compression none"):
        write_archive(folder, describe(folder, nothing), tmp_path / "a.tar.zst", "zstd", nothing)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
