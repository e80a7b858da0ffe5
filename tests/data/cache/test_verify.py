from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.data.cache.conftest import MakeCache
from tests.data.cache.secret_dataset import KEY
from tests.data.cache.test_store import put, values_of
from yolo.data.cache.damage import ANEW
from yolo.data.cache.header import DATA_FILE
from yolo.data.cache.tables import image_key, table_key
from yolo.data.cache.verify import verify_cache
from yolo.data.keys import EncryptionKey, find_key
from yolo.errors import UserError


@pytest.mark.parametrize("encrypt", [False, True])
def test_damages_are_named(make_cache: MakeCache, encrypt: bool) -> None:
    cache, use = make_cache(cache_encrypt=encrypt, cache_format="raw")
    file, key = use.folder / DATA_FILE, find_key(KEY if encrypt else None)
    paths = list(cache.index.paths)
    found = verify_cache(use.folder, key)
    assert (found.images, found.checked, found.damages, found.intact) == (17, 17, [], True)
    assert found.bytes == sum(cache.image(n).nbytes for n in range(17))
    content = file.read_bytes()
    places = {name: (begin, length) for begin, length, name in values_of(cache, content)}
    with file.open("r+b", buffering=0) as handle:
        for name in (image_key(3), image_key(16), table_key("val")):
            begin, length = places[name]
            os.pwrite(handle.fileno(), bytes([content[begin + length - 1] ^ 4]), begin + length - 1)
    one, two = (bytes(cache.map.get(image_key(n)) or b"") for n in (5, 6))
    put(file, {image_key(5): two, image_key(6): one})
    found = verify_cache(use.folder, key)
    assert not found.intact
    assert sorted(found.damages) == sorted(
        [
            f"{use.folder}: its val split is damaged in the cache: {ANEW}",
            f"{use.folder}: {paths[3]} is damaged in the cache: {ANEW}",
            f"{use.folder}: {paths[16]} is damaged in the cache: {ANEW}",
            f"{use.folder}: values were exchanged, where {paths[5]} should be there is {paths[6]}: {ANEW}",
            f"{use.folder}: values were exchanged, where {paths[6]} should be there is {paths[5]}: {ANEW}",
        ]
    )


@pytest.mark.slow
def test_what_cannot_be_opened(make_cache: MakeCache, tmp_path: Path) -> None:
    _, use = make_cache(cache_encrypt=True)
    for folder, key, expected in (
        (tmp_path / "none", None, "there is no cache"),
        (use.folder, None, "there is no key"),
        (use.folder, EncryptionKey(bytes(32)), "wrong key"),
    ):
        with pytest.raises(UserError, match=expected):
            verify_cache(folder, key)


@pytest.mark.slow
def test_damage_to_the_pages_between_the_values_never_passes_and_never_crashes(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    cache, use = make_cache(cache_encrypt=True, cache_format="raw")
    content = (use.folder / DATA_FILE).read_bytes()
    covered = bytearray(len(content))
    for begin, length, _ in values_of(cache, content):
        covered[begin : begin + length] = b"\1" * length
    outside = [at for at in range(8192, len(content)) if not covered[at] and content[at]]
    rng, key, outcomes = random.Random(1), find_key(KEY), []
    for turn in range(4):
        folder = tmp_path / str(turn)
        shutil.copytree(use.folder, folder)
        with (folder / DATA_FILE).open("r+b") as file:
            for at in rng.sample(outside, 40):
                file.seek(at)
                file.write(bytes([content[at] ^ 1 << rng.randrange(8)]))
        with contextlib.suppress(UserError):
            outcomes.append(verify_cache(folder, key).intact)
    assert outcomes.count(True) < 4, "some pages are no longer used, and damage to them is none; but not to all"
