"""Caches in clear that somebody else made: every digest is right, and what the tables say is not (check of issue 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.conftest import MakeCache, splits_of
from tests.data.cache.secret_dataset import KEY
from tests.data.cache.test_store import put
from tests.data.cache.test_unpack import whole
from yolo.commands.cache_info import describe
from yolo.data.cache.header import DATA_FILE, HEADER_KEY, read_header
from yolo.data.cache.store import open_cache
from yolo.data.cache.tables import INDEX, SPEC, image_key, name_of, table_key
from yolo.data.cache.unpack import import_archive
from yolo.data.cache.use import OpenSplits
from yolo.data.cache.verify import verify_cache
from yolo.data.keys import find_key
from yolo.errors import UserError

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
VAL = table_key("val")

Change = Callable[[Any], Any]


def ints(*numbers: int, kind: str = "<i8") -> bytes:
    return np.array(numbers, kind).tobytes()


def with_(**changes: Any) -> Change:
    return lambda document: document | changes


def without(name: str) -> Change:
    return lambda document: {key: value for key, value in document.items() if key != name}


def of_split(**changes: Any) -> Change:
    return lambda document: (
        document
        | {
            "splits": document["splits"] | {"val": document["splits"]["val"] | changes},
        }
    )


def of_labels(**changes: Any) -> Change:
    def change(document: Any) -> Any:
        labels = msgpack.unpackb(document["annotations"])
        given = {name: value(labels) if callable(value) else value for name, value in changes.items()}
        return document | {"annotations": msgpack.packb(labels | given)}

    return change


def first(name: str, kind: str, value: Any) -> Callable[[Any], bytes]:
    """The table of objects with another first number."""

    def change(labels: Any) -> bytes:
        table = np.frombuffer(labels[name], kind).copy()
        table[0] = value
        return table.tobytes()

    return change


NESTED = b"\x91" * 5000 + b"\xc0"

SPECS: dict[str, Change] = {
    "not JSON": lambda _: b"{",
    "not UTF-8": lambda _: b"\xff\xfe{}",
    "nothing": lambda _: b"",
    "a list": lambda _: [],
    "nested too deeply": lambda _: b"[" * 100_000,
    "an endless number": lambda _: b"9" * 9000,
    "no splits": without("splits"),
    "one key more": with_(more=1),
    "splits a list": with_(splits=["val"]),
    "splits empty": with_(splits={}),
    "another split": lambda d: d | {"splits": d["splits"] | {ESCAPE: d["splits"]["val"]}},
    "split a number": lambda d: d | {"splits": {"val": 3}},
    "split without labels": lambda d: d | {"splits": {"val": {"images": 5}}},
    "size of nothing": with_(size=[0, 64]),
    "size of one": with_(size=[64]),
    "size of words": with_(size=["64", "64"]),
    "size endless": with_(size=[float("inf"), 64]),
    "size immense": with_(size=[1 << 70, 64]),
    "smaller size": with_(size=[32, 32]),
    "another size": with_(size=[64, 80]),
    "fraction NaN": with_(fraction=float("nan")),
    "fraction true": with_(fraction=True),
    "seed below zero": with_(seed=-1),
    "format of a terminal": with_(dataset_format=ESCAPE),
    "cache format unknown": with_(cache_format="png"),
    "cache format a list": with_(cache_format=["raw"]),
    "lz4 a number": with_(lz4=1),
    "quality 0": with_(jpeg_quality=0),
    "encrypted": with_(encrypted=True),
    "loader a number": with_(loader=7),
    "more images": of_split(images=6),
    "fewer objects": of_split(objects=0),
}
INDICES: dict[str, Change] = {
    "a number": lambda _: b"\x05",
    "not msgpack": lambda _: b"\xc1",
    "nothing": lambda _: b"",
    "nested too deeply": lambda _: NESTED,
    "no sizes": without("sizes"),
    "one key more": with_(more=1),
    "paths a number": with_(paths=3),
    "paths numbers": with_(paths=list(range(17))),
    "one path fewer": lambda d: d | {"paths": d["paths"][1:]},
    "no paths": with_(paths=[]),
    "sizes text": with_(sizes="x"),
    "sizes odd": with_(sizes=b"123"),
    "a size of nothing": with_(sizes=ints(*[0] * 34, kind="<i4")),
    "a size below zero": with_(sizes=ints(*[-5] * 34, kind="<i4")),
    "immense sizes": with_(sizes=ints(*[1 << 30] * 34, kind="<i4")),
    "other sizes": with_(sizes=ints(*[9] * 34, kind="<i4")),
}
SPLITS: dict[str, Change] = {
    "a list": lambda _: [1],
    "nested too deeply": lambda _: NESTED,
    "no numbers": without("numbers"),
    "numbers text": with_(numbers="12"),
    "one number fewer": lambda d: d | {"numbers": d["numbers"][8:]},
    "a number too large": with_(numbers=ints(12, 13, 14, 15, 17)),
    "a number below zero": with_(numbers=ints(-1, 13, 14, 15, 16)),
    "numbers of other images": with_(numbers=ints(0, 0, 0, 0, 0)),
    "annotations missing": without("annotations"),
    "annotations a number": with_(annotations=3),
    "annotations nothing": with_(annotations=b""),
    "annotations nested": with_(annotations=NESTED),
    "sizes of nothing": of_labels(sizes=[[0, 0]] * 5),
    "sizes immense": of_labels(sizes=[[1 << 40, 1 << 40]] * 5),
    "sizes beyond 64 bits": of_labels(sizes=[[(1 << 64) - 1, 1]] * 5),
    "sizes of three": of_labels(sizes=[[1, 2, 3]] * 5),
    "paths numbers": of_labels(paths=[1] * 5),
    "counts below zero": of_labels(counts=[-1, 1, 2, 3, 1]),
    "class too large": of_labels(classes=first("classes", "<i8", 2)),
    "class below zero": of_labels(classes=first("classes", "<i8", -1)),
    "box NaN": of_labels(boxes=first("boxes", "<f4", np.nan)),
    "box endless": of_labels(boxes=first("boxes", "<f4", -np.inf)),
    "box inside out": of_labels(boxes=first("boxes", "<f4", 9000)),
    "area NaN": of_labels(areas=first("areas", "<f8", np.nan)),
    "crowd 7": of_labels(crowd=first("crowd", "u1", 7)),
    "boxes text": of_labels(boxes="x"),
    "boxes odd": of_labels(boxes=b"123"),
    "no classes": of_labels(class_names=[]),
    "classes one text": of_labels(class_names="ab"),
    "category ids too few": of_labels(category_ids=[0]),
    "category ids twice": of_labels(category_ids=[0, 0]),
    "ids beyond 64 bits": of_labels(ids=[(1 << 64) - 1] * 5),
    "ids text": of_labels(ids=["1"] * 5),
    "skipped a list": of_labels(skipped=[]),
}
CASES = (
    [pytest.param(SPEC, change, id=f"settings: {name}") for name, change in SPECS.items()]
    + [pytest.param(INDEX, change, id=f"index: {name}") for name, change in INDICES.items()]
    + [pytest.param(VAL, change, id=f"split: {name}") for name, change in SPLITS.items()]
)


def craft(folder: Path, key: bytes, change: Change) -> None:
    """Store what `change` makes of a table, with a digest that is right."""
    cache = open_cache(folder, None)
    value = cache.value(key, "a table", check=True).tobytes()
    changed = change(json.loads(value) if key == SPEC else msgpack.unpackb(value))
    if not isinstance(changed, bytes):
        changed = json.dumps(changed).encode() if key == SPEC else msgpack.packb(changed)
    put(folder / DATA_FILE, {key: cache.seal.close(key, changed)})


@pytest.mark.parametrize(("key", "change"), CASES)
def test_tables_of_anybody_are_refused_by_a_sentence(
    make_cache: MakeCache, tmp_path: Path, key: bytes, change: Change
) -> None:
    _, use = make_cache()
    craft(use.folder, key, change)
    sentence = r"^[^\x00-\x1f]* is damaged in the cache [^\x00-\x1f]*$"
    with pytest.raises(UserError, match=sentence):
        open_cache(use.folder, None).require_sound()
    with pytest.raises(UserError, match=sentence):
        describe(use.folder)
    reasons = use.find(splits_of(use))
    assert isinstance(reasons, list), "fit builds it anew"
    archive = tmp_path / "archive.tar"
    archive.write_bytes(whole((use.folder / DATA_FILE).read_bytes()))
    with pytest.raises(UserError, match="holds no cache that can be used"):
        import_archive(archive, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("key", "change"), [(SPEC, SPECS["no splits"]), (INDEX, INDICES["no paths"]), (VAL, SPLITS["box NaN"])]
)
def test_verify_does_not_call_them_intact(make_cache: MakeCache, key: bytes, change: Change) -> None:
    _, use = make_cache()
    craft(use.folder, key, change)
    try:
        damages = verify_cache(use.folder, None).damages
    except UserError as error:
        damages = [str(error)]
    assert len(damages) == 1
    assert "is damaged in the cache" in damages[0]


def test_what_an_archive_holds_is_checked_with_the_key_if_it_is_there(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, use = make_cache(cache_encrypt=True)
    put(use.folder / DATA_FILE, {INDEX: cache.seal.close(INDEX, b"\x05")})
    archive = tmp_path / "archive.tar"
    archive.write_bytes(whole((use.folder / DATA_FILE).read_bytes()))
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    with pytest.raises(UserError, match="its list of images is damaged"):
        import_archive(archive, tmp_path / "imported")
    for key in ("", "ff" * 32):
        monkeypatch.setenv("YOLO_ENCRYPTION_KEY", key)
        assert import_archive(archive, tmp_path / f"imported{key}").is_dir()
    assert find_key() is not None


def test_paths_do_not_reach_the_terminal_as_they_are(make_cache: MakeCache) -> None:
    cache, use = make_cache()
    craft(use.folder, INDEX, lambda document: document | {"paths": [ESCAPE + path for path in document["paths"]]})
    put(use.folder / DATA_FILE, {image_key(3): cache.seal.close(image_key(3), b"no JPEG")})
    with pytest.raises(UserError, match=r"\\x1b\]0;owned\\x07\\x1b\[2Jimages/train/patient-train-003.png is damaged"):
        open_cache(use.folder, None).image(3)
    put(use.folder / DATA_FILE, {image_key(4): b"too short"})
    done = run_yolo("cache-verify", "--cache-dir", use.folder)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert r"\x1b[2Jimages/train/patient-train-004.png is damaged" in done.stdout


HEADERS: dict[str, bytes] = {
    "not JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "nested too deeply": b"[" * 100_000,
    "no version": b'{"encrypted": false}',
    "version text": b'{"version": "1", "encrypted": false}',
    "version true": b'{"version": true, "encrypted": false}',
    "version immense": b'{"version": 1%s, "encrypted": false}' % (b"0" * 400),
    "encrypted a number": b'{"version": 1, "encrypted": 0}',
    "no id": b'{"version": 1, "encrypted": false}',
    "id a number": b'{"version": 1, "encrypted": false, "cache_id": 3, "salt": "", "key_check": ""}',
    "id not hexadecimal": b'{"version": 1, "encrypted": false, "cache_id": "xy", "salt": "", "key_check": ""}',
    "id too short": b'{"version": 1, "encrypted": false, "cache_id": "ab", "salt": "", "key_check": ""}',
    "no salt": b'{"version": 1, "encrypted": true, "cache_id": "%s", "salt": "", "key_check": ""}' % (b"ab" * 16),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_anybody(make_cache: MakeCache, name: str) -> None:
    _, use = make_cache()
    body = HEADERS[name]
    put(use.folder / DATA_FILE, {HEADER_KEY: hashlib.blake2b(body, digest_size=16).digest() + body})
    with pytest.raises(UserError, match="the header of the cache is damaged"):
        read_header(use.folder)
    assert use.ensure(splits_of(use)).built


@pytest.mark.parametrize("key", [b"\0" * 7 + b"\x63", b"\x80" + b"\0" * 6 + b"\x09", b"\xff" * 8, INDEX])
def test_values_exchanged_for_ones_that_are_not(make_cache: MakeCache, key: bytes) -> None:
    cache, use = make_cache()
    put(use.folder / DATA_FILE, {INDEX: cache.seal.close(image_key(99), b"x"), SPEC: cache.seal.close(key, b"x")})
    for read in ("index", "spec"):
        with pytest.raises(UserError, match="values were exchanged, where its"):
            getattr(open_cache(use.folder, None), read)


def test_names_of_keys() -> None:
    assert name_of(image_key(1), ["a", "b"]) == "b"
    assert name_of(image_key(2), ["a", "b"]) == "image 2"
    assert name_of(VAL, ()) == "table 'val'"
    assert name_of(b"\xff" * 8, ()) == f"table {(1 << 63) - 1}"


@pytest.mark.parametrize("key", [SPEC, INDEX, VAL, table_key("train")])
def test_a_damaged_table_is_built_anew_and_not_taken_for_up_to_date(make_cache: MakeCache, key: bytes) -> None:
    cache, use = make_cache()
    stored = bytearray(cache.map.get(key) or b"")
    stored[-1] ^= 1
    put(use.folder / DATA_FILE, {key: bytes(stored)})
    found = use.ensure(splits_of(use))
    assert found.built
    assert isinstance(use.find(splits_of(use)), OpenSplits)
    assert found.pixels("val")(0).any()


def test_the_advice_names_the_way(make_cache: MakeCache) -> None:
    _, use = make_cache()
    put(use.folder / DATA_FILE, {VAL: b"x" * 40})
    done = run_yolo("cache-info", "--cache-dir", use.folder)
    assert_user_error(done, "build the cache anew (--data.cache_refresh=true or yolo cache-create --force)")
