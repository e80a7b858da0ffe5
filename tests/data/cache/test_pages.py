from __future__ import annotations

import os
import random
from pathlib import Path

import lmdb
import pytest

from tests.data.cache.conftest import MakeCache
from tests.data.cache.test_store import SECRET, values_of
from yolo.data.cache.header import DATA_FILE
from yolo.data.cache.pages import DamagedPagesError, check_tree, read_tree
from yolo.data.cache.store import open_cache
from yolo.errors import UserError


@pytest.mark.parametrize("count", [1, 5, 3000])
def test_the_tree_that_lmdb_wrote(tmp_path: Path, count: int) -> None:
    environment = lmdb.open(str(tmp_path / "file"), subdir=False, lock=False, map_size=1 << 26)
    for part in range(2):
        with environment.begin(write=True) as transaction:
            for n in range(count):
                transaction.put(n.to_bytes(8, "big"), bytes([part]) * (20 if n % 3 else 5000))
    info, stat = environment.info(), environment.stat()
    environment.close()
    with (tmp_path / "file").open("rb") as file:
        tree = read_tree(file.fileno())
        check_tree(file.fileno(), tree)
    assert (tree.page_size, tree.last_page, tree.depth) == (stat["psize"], info["last_pgno"], stat["depth"])
    assert tree.transaction == info["last_txnid"]
    assert tree.bytes <= (tmp_path / "file").stat().st_size


def test_no_tree_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text" * 9000)
    with (tmp_path / "file").open("rb") as file, pytest.raises(DamagedPagesError, match="no meta page"):
        read_tree(file.fileno())


def outcome(folder: Path) -> str:
    """What becomes of reading everything."""
    try:
        cache = open_cache(folder, SECRET)
        for name in cache.spec.splits:
            cache.split(name, Path())
        for number in range(len(cache.index.paths)):
            cache.image(number)
    except UserError as error:
        return "named" if str(folder) in str(error) else "unnamed"
    return "intact"


@pytest.mark.slow
def test_flipped_bits_between_the_values_crash_nobody(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, use = make_cache(cache_encrypt=True, cache_format="raw")
    content = (use.folder / DATA_FILE).read_bytes()
    covered = bytearray(len(content))
    for begin, length, _ in values_of(cache, content):
        covered[begin : begin + length] = b"\1" * length
    outside = [at for at in range(len(content)) if not covered[at] and content[at]]
    rng = random.Random(0)
    flips = [(rng.choice(outside), 1 << rng.randrange(8)) for _ in range(1200)]
    reader, writer = os.pipe()
    for start in range(0, len(flips), 300):  # a process for some of them: each keeps the files it has opened
        child = os.fork()
        if child == 0:
            for turn, (at, bit) in enumerate(flips[start : start + 300]):
                folder = tmp_path / f"{start + turn}"
                folder.mkdir()
                changed = bytearray(content)
                changed[at] ^= bit
                (folder / DATA_FILE).write_bytes(changed)
                os.write(writer, outcome(folder)[:1].encode())
                (folder / DATA_FILE).unlink()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    os.close(writer)
    seen = os.read(reader, 2000)
    os.close(reader)
    assert len(seen) == 1200
    assert seen.count(b"u") == 0
    assert seen.count(b"n") > 5, "the others lie where nothing is read"
