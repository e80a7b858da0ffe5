from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from tests.data.cache.conftest import MakeCache, splits_of
from tests.data.cache.secret_dataset import CLASSES, COCO_OPTIONS, KEY
from tests.data.test_packing import assert_same
from yolo.boxes.letterbox import Letterbox
from yolo.data.cache.damage import ANEW
from yolo.data.cache.header import DATA_FILE, HEADER_KEY, read_header
from yolo.data.cache.seal import DigestSeal
from yolo.data.cache.store import Cache, CachedPixels, open_cache
from yolo.data.cache.tables import INDEX, SPEC, image_key, table_key
from yolo.data.cache.use import CacheUse
from yolo.data.keys import EncryptionKey, find_key
from yolo.data.pixels import LoadedPixels
from yolo.errors import UserError

SECRET = find_key(KEY)


@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("lz4", [False, True])
def test_raw_images_in_original_size_come_back(make_cache: MakeCache, encrypt: bool, lz4: bool) -> None:
    cache, use = make_cache(
        cache_format="raw", cache_lz4=lz4, cache_encrypt=encrypt, cache_resize_images=False, cache_workers=3
    )
    assert use.folder.name == ".yolo_cache_orig_f1.0"
    for name, split in splits_of(use).items():
        read, cached = LoadedPixels(split.images, use.loader), cache.pixels(cache.split(name, Path())[1])
        for index in range(len(split.images)):
            assert np.array_equal(read(index), cached(index))


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_annotations_come_back(make_cache: MakeCache, dataset: Path, form: str) -> None:
    options: dict[str, Any] = COCO_OPTIONS if form == "coco" else {}
    cache, use = make_cache(cache_encrypt=True, **options)
    for name, split in splits_of(use).items():
        assert_same(cache.split(name, dataset)[0], split)


def test_images_are_shrunk_as_the_letterbox_shrinks_them(make_cache: MakeCache) -> None:
    cache, use = make_cache(cache_format="raw")
    numbers = cache.split("train", Path())[1]
    for i, record in enumerate(splits_of(use)["train"].images):
        image = cache.image(int(numbers[i]))
        whole = use.loader(record.path)
        assert image.shape[:2] == (Letterbox(record.size, (64, 64)).size if max(record.size) > 64 else record.size)
        for mode in ("center", "corner"):
            direct = Letterbox(record.size, (64, 64), mode).apply(np.asarray(whole))
            assert np.array_equal(Letterbox(image.shape[:2], (64, 64), mode).apply(image), direct)


def test_raw_images_in_clear_are_views_of_the_file(make_cache: MakeCache) -> None:
    cache, _ = make_cache(cache_format="raw")
    image = cache.image(0)
    stored = cache.map.get(image_key(0))
    assert stored is not None
    assert np.shares_memory(image, np.frombuffer(stored, np.uint8))
    assert not image.flags.writeable


def test_a_damaged_image_in_clear_is_found_when_it_is_first_read(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, use = make_cache(cache_format="raw")
    stored = bytearray(cache.map.get(image_key(3)) or b"")
    stored[-100] ^= 1
    put(use.folder / DATA_FILE, {image_key(3): bytes(stored)})
    damaged = open_cache(use.folder, None)
    for _ in range(2):
        with pytest.raises(UserError, match=r"patient-train-003\.png is damaged in the cache"):
            damaged.image(3)
    checks: list[bytes] = []
    digest = DigestSeal._digest
    monkeypatch.setattr(DigestSeal, "_digest", lambda *given: checks.append(given[1]) or digest(*given))
    for _ in range(3):
        assert not cache.image(4).flags.writeable
    assert checks.count(image_key(4)) == 1


def _sum(pixels: CachedPixels, out: Any) -> None:
    out.put(int(pixels(3).sum()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pixels_travel_to_another_process(make_cache: MakeCache, method: str) -> None:
    cache, _ = make_cache(cache_encrypt=True)
    pixels = cache.pixels(cache.split("train", Path())[1])
    context: Any = multiprocessing.get_context(method)
    out = context.Queue()
    process = context.Process(target=_sum, args=(pixels, out))
    process.start()
    assert out.get(timeout=60) == int(pixels(3).sum())
    process.join()


def test_a_copy_refuses_a_cache_that_was_built_anew(make_cache: MakeCache) -> None:
    cache, use = make_cache()
    copy = pickle.loads(pickle.dumps(cache.pixels(np.arange(3))))
    use.ensure(splits_of(use), refresh=True)
    with pytest.raises(UserError, match="was built anew while it was in use"):
        copy(0)
    assert cache.image(0).any(), "who has it open keeps it"


def test_a_split_that_is_not_there(make_use: Any) -> None:
    use = make_use()
    use.ensure({"train": splits_of(use)["train"]})
    with pytest.raises(UserError, match="the cache has no val split, only train"):
        open_cache(use.folder, None).split("val", Path())


def test_nothing_is_readable_in_an_encrypted_cache(make_cache: MakeCache) -> None:
    cache, use = make_cache(cache_encrypt=True, cache_format="raw")
    content = (use.folder / DATA_FILE).read_bytes()
    splits = splits_of(use)
    words = {
        *CLASSES,
        "patient",
        "train",
        "images",
        "dataset",
        "png",
        "yolo",
        "class_names",
        "splits",
        "jpeg",
        "fraction",
    }
    words |= {
        part for split in splits.values() for image in split.images for part in (str(image.path), image.path.stem)
    }
    for word in words:
        assert word.encode() not in content, word
        assert word.encode("utf-16-le") not in content, word
    for split in splits.values():
        for image in split.images:
            assert not len(image.boxes) or image.boxes.tobytes()[:16] not in content
            assert cache.seal is not None
            pixels = use.loader(image.path)
            assert np.asarray(pixels)[5].tobytes()[:32] not in content
    assert KEY.encode() not in content
    assert bytes.fromhex(KEY) not in content
    readable = {text for text in re.findall(rb"[\x20-\x7e]{6,}", content) if text.isalpha()}
    known = {b"version", b"encrypted", b"header"}
    assert len(readable - known) < 40, "words of chance only"
    stored = json.loads(bytes(cache.map.get(HEADER_KEY) or b"")[16:])
    assert set(stored) == {"version", "cache_id", "encrypted", "salt", "key_check"}


def values_of(cache: Cache, content: bytes) -> list[tuple[int, int, bytes]]:
    """Where each stored value lies in the file: begin, length, key."""

    def address(key: bytes) -> int:
        return np.frombuffer(cache.map.get(key) or b"", np.uint8).__array_interface__["data"][0]

    base = address(image_key(0)) - content.index(bytes(cache.map.get(image_key(0)) or b"-"))
    keys = [image_key(n) for n in range(len(cache.index.paths))]
    keys += [SPEC, INDEX, table_key("train"), table_key("val"), HEADER_KEY]
    places = []
    for key in keys:
        stored = bytes(cache.map.get(key) or b"")
        begin = address(key) - base
        assert content[begin : begin + len(stored)] == stored
        places.append((begin, len(stored), key))
    return places


def read_value(folder: Path, key: bytes, number: int | None) -> None:
    """What training reads of it."""
    cache = open_cache(folder, SECRET)
    if number is not None:
        cache.image(number)
    elif key == SPEC:
        assert cache.spec
    else:
        _ = cache.index if key == INDEX else cache.split("train" if key == table_key("train") else "val", Path())


def test_every_flipped_bit_in_a_value_is_found_and_named(make_cache: MakeCache) -> None:
    cache, use = make_cache(cache_encrypt=True, cache_format="raw")
    file = use.folder / DATA_FILE
    content, paths = file.read_bytes(), cache.index.paths
    tables = {SPEC: "its settings", INDEX: "its list of images", HEADER_KEY: "the header"}
    names = {image_key(n): path for n, path in enumerate(paths)} | tables
    names |= {table_key(name): f"its {name} split" for name in ("train", "val")}
    places, rng = values_of(cache, content), random.Random(0)
    everywhere = sum(length for _, length, _ in places)
    with file.open("r+b", buffering=0) as handle:
        for turn in range(2000):
            if turn < 1000:  # anywhere, and so mostly in images; then in each value equally often
                begin, length, key = rng.choices(places, [length / everywhere for _, length, _ in places])[0]
            else:
                begin, length, key = places[turn % len(places)]
            at, bit = begin + rng.randrange(length), 1 << rng.randrange(8)
            os.pwrite(handle.fileno(), bytes([content[at] ^ bit]), at)
            number = paths.index(names[key]) if names[key] in paths else None
            with pytest.raises(UserError) as caught:
                read_value(use.folder, key, number)
            assert str(use.folder) in str(caught.value)
            assert f"{names[key]} " in str(caught.value)
            assert "damaged" in str(caught.value)
            os.pwrite(handle.fileno(), content[at : at + 1], at)
    assert file.read_bytes() == content


def put(file: Path, values: dict[bytes, bytes]) -> None:
    """Store other values, in another file that then gets the name: a process opens a file once."""
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    environment = lmdb.open(str(copy), subdir=False, lock=False, map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    environment.close()
    copy.replace(file)


def test_five_troubles_five_sentences(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, use = make_cache(cache_encrypt=True, cache_format="raw")
    stored = {n: bytes(cache.map.get(image_key(n)) or b"") for n in (0, 1)}
    flipped = stored[0][:50] + bytes([stored[0][50] ^ 1]) + stored[0][51:]
    exchanged = {image_key(0): stored[1], image_key(1): stored[0]}
    sentences = []
    for name, values, key in (
        ("flipped", {image_key(0): flipped}, SECRET),
        ("exchanged", exchanged, SECRET),
        ("wrong key", {}, EncryptionKey(bytes(32))),
        ("no key", {}, None),
        ("truncated", {}, SECRET),
    ):
        folder = tmp_path / name
        shutil.copytree(use.folder, folder)
        if values:
            put(folder / DATA_FILE, values)
        if name == "truncated":
            os.truncate(folder / DATA_FILE, 50_000)
        with pytest.raises(UserError) as caught:
            open_cache(folder, key).image(0)
        sentences.append(str(caught.value).replace(str(folder), "X"))
    one, two = cache.index.paths[:2]
    assert sentences == [
        f"X: {one} is damaged in the cache: {ANEW}",
        f"X: values were exchanged, where {one} should be there is {two}: {ANEW}",
        "X: wrong key: the cache was encrypted with another one",
        "X: the cache is encrypted, and there is no key: set YOLO_ENCRYPTION_KEY (64 hexadecimal digits)",
        f"X/data.mdb: the file is truncated, it has 50,000 of at least {cache.file_size:,} bytes: copy it again or "
        f"{ANEW}",
    ]


def test_values_that_are_missing(make_cache: MakeCache, tmp_path: Path) -> None:
    _, use = make_cache()
    for key, expected in (
        (image_key(2), r"patient-train-002\.png is missing"),
        (INDEX, "its list of images is missing"),
    ):
        folder = tmp_path / key.hex()
        shutil.copytree(use.folder, folder)
        environment = lmdb.open(str(folder / DATA_FILE), subdir=False, lock=False)
        with environment.begin(write=True) as transaction:
            transaction.delete(key)
        environment.close()
        with pytest.raises(UserError, match=expected):
            open_cache(folder, None).image(2)


def test_the_whole_file_can_be_read_ahead(make_cache: MakeCache) -> None:
    cache, use = make_cache(cache_images="ram")
    cache.read_ahead()
    assert use.open_alone().cache.image(0).any()
    assert read_header(use.folder) == cache.header
    assert isinstance(use, CacheUse)
