from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.data.cache.conftest import MakeCache
from yolo.data.cache.environment import open_map
from yolo.data.cache.header import DATA_FILE, HEADER_KEY
from yolo.errors import UserError


def test_a_file_is_mapped_once(make_cache: MakeCache) -> None:
    file = make_cache()[1].folder / DATA_FILE
    assert open_map(file) is open_map(file.parent / "." / DATA_FILE)
    assert open_map(file).get(b"nothing") is None
    assert open_map(file).get(HEADER_KEY)


def test_a_replaced_file_is_another_one_and_the_old_map_stays(make_cache: MakeCache, tmp_path: Path) -> None:
    file = make_cache()[1].folder / DATA_FILE
    before = open_map(file)
    view = before.get(HEADER_KEY)
    shutil.copy(file, tmp_path / "copy")
    os.replace(tmp_path / "copy", file)  # noqa: PTH105
    after = open_map(file)
    assert after is not before
    assert bytes(after.get(HEADER_KEY) or b"") == bytes(view or b"-")


def test_a_forked_child_reads_through_the_map_it_inherits(make_cache: MakeCache) -> None:
    cache, use = make_cache()
    process = os.fork()
    if process == 0:
        same = open_map(use.folder / DATA_FILE) is cache.map and cache.image(0) is not None
        os._exit(0 if same else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_a_file_that_is_no_cache(tmp_path: Path) -> None:
    file = tmp_path / DATA_FILE
    with pytest.raises(UserError, match=r"there is no cache \(no file data\.mdb in it\)"):
        open_map(file)
    file.write_bytes(bytes(100_000))
    with pytest.raises(UserError, match="not the data file of a cache"):
        open_map(file)


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("open_before", [False, True])
def test_a_truncated_file(make_cache: MakeCache, tmp_path: Path, part: float, open_before: bool) -> None:
    file = make_cache()[1].folder / DATA_FILE
    shutil.copy(file, tmp_path / "copy")
    if open_before:
        open_map(tmp_path / "copy")
    os.truncate(tmp_path / "copy", int(part * file.stat().st_size))
    with pytest.raises(UserError, match=r"copy: the file is truncated, it has [\d,]+ of at least [\d,]+ bytes"):
        open_map(tmp_path / "copy")
