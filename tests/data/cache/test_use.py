from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.cache.conftest import splits_of
from tests.data.cache.secret_dataset import COCO_OPTIONS, KEY
from yolo.data.cache import header
from yolo.data.cache import use as module
from yolo.data.cache.header import DATA_FILE, CacheHeader
from yolo.data.cache.use import CacheUse
from yolo.errors import UserError

MakeUse = Callable[..., CacheUse]


def touch(root: Path) -> None:
    os.utime(root / "images/train/patient-train-002.png", (1, 1))


def remove(root: Path) -> None:
    (root / "images/train/patient-train-002.png").unlink()
    (root / "labels/train/patient-train-002.txt").unlink()


def relabel(root: Path) -> None:
    (root / "labels/val/patient-val-001.txt").write_text("0 0.5 0.5 0.5 0.4\n")


def nothing(_: Path) -> None: ...


@pytest.mark.parametrize(
    ("options", "change", "reason"),
    [
        ({}, nothing, None),
        ({"jpeg_quality": 50, "batch_size": 3, "num_workers": 1, "cache_max_memory_gb": 1}, nothing, None),
        ({"cache_images": "ram"}, nothing, None),
        ({}, touch, "image files changed"),
        ({}, remove, "image count changed (17 -> 16)"),
        ({}, relabel, "labels changed"),
        ({"cache_encrypt": True}, nothing, "encryption changed (unencrypted -> encrypted)"),
        ({"cache_format": "raw"}, nothing, "format changed (jpeg -> raw)"),
        (COCO_OPTIONS, nothing, "dataset format changed (yolo -> coco), labels changed"),
    ],
)
def test_a_cache_is_built_anew_when_it_must_be(
    make_use: MakeUse, dataset: Path, caplog: pytest.LogCaptureFixture,
    options: dict[str, Any], change: Callable[[Path], None], reason: str | None,
) -> None:  # fmt: skip
    first = make_use()
    assert first.ensure(splits_of(first))
    change(dataset)
    use = make_use(**options)
    splits = splits_of(use)
    with caplog.at_level(logging.WARNING):
        assert use.ensure(splits) is (reason is not None)
    assert caplog.messages == ([f"building the cache {use.folder} anew: {reason}"] if reason else [])
    assert use.reasons(splits) == []
    assert use.open().spec.cache_format == use.options.cache_format


def test_another_seed_only_matters_to_a_fraction(make_use: MakeUse) -> None:
    for fraction, reasons in ((1.0, []), (0.5, ["settings changed (size/fraction)"])):
        use = make_use(data_fraction=fraction)
        splits = splits_of(use)
        use.ensure(splits)
        assert make_use(seed=1, data_fraction=fraction).reasons(splits) == reasons


def test_a_damaged_cache_and_one_of_another_version(make_use: MakeUse, monkeypatch: pytest.MonkeyPatch) -> None:
    use = make_use()
    splits = splits_of(use)
    monkeypatch.setattr(header, "VERSION", 2)
    use.ensure(splits)
    monkeypatch.setattr(header, "VERSION", 1)
    assert use.reasons(splits) == ["version changed (2 -> 1)"]
    assert use.ensure(splits)
    os.truncate(use.folder / DATA_FILE, 30_000)
    assert re.search("the file is truncated", *use.reasons(splits))
    assert use.ensure(splits)
    monkeypatch.setattr(module, "read_header", lambda _: CacheHeader.unpack(b"damaged", use.folder))
    assert "header of the cache is damaged" in use.reasons(splits)[0]


def test_an_encrypted_cache_is_not_replaced_for_want_of_its_key(make_use: MakeUse) -> None:
    use = make_use(cache_encrypt=True)
    splits = splits_of(use)
    use.ensure(splits)
    for key, expected in (("ff" * 32, "wrong key"), (None, "data.cache_encrypt is true, and there is no key")):
        with pytest.raises(UserError, match=expected):
            make_use(cache_encrypt=True, encryption_key=key).ensure(splits)
    assert use.reasons(splits) == []


def test_refresh_builds_it_anew(make_use: MakeUse, caplog: pytest.LogCaptureFixture) -> None:
    use = make_use()
    splits = splits_of(use)
    use.ensure(splits)
    before = use.open().header.cache_id
    with caplog.at_level(logging.WARNING):
        assert use.ensure(splits, refresh=True)
    assert caplog.messages == [f"building the cache {use.folder} anew: asked for"]
    assert use.open().header.cache_id != before


def test_a_cache_larger_than_the_memory_for_it(make_use: MakeUse, caplog: pytest.LogCaptureFixture) -> None:
    use = make_use(cache_images="ram", cache_max_memory_gb=0)
    use.ensure(splits_of(use))
    with caplog.at_level(logging.WARNING):
        use.open()
    assert "are more than data.cache_max_memory_gb=0: read as needed" in caplog.text


def test_cache_only_looks_in_the_dataset_folder_and_the_default_one(
    make_use: MakeUse, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CACHE_DIR", str(tmp_path / "default"))
    use = make_use(cache_dir=None)
    with pytest.raises(UserError, match=r"data\.cache_only: there is no cache .*dataset/\.yolo_cache_64x64_f1\.0 or"):
        use.open_alone()
    use.ensure(splits_of(use))
    assert use.open_alone().folder == use.folder
    shutil.move(use.folder, dataset / use.name)
    assert use.open_alone().folder == dataset / use.name


@pytest.mark.parametrize(
    ("built", "wanted", "expected"),
    [
        ({"cache_encrypt": True}, {}, "encryption mismatch: the cache is encrypted, but data.cache_encrypt is"),
        (
            {},
            {"cache_encrypt": True},
            "encryption mismatch: the cache is not encrypted, but data.cache_encrypt",
        ),
        ({}, {"format": "coco"}, "format mismatch: the cache has data.format=yolo, the options say coco"),
        (
            {"cache_encrypt": True},
            {"cache_encrypt": True, "encryption_key": None},
            "there is no key: set",
        ),
        ({"cache_encrypt": True}, {"cache_encrypt": True, "encryption_key": "ff" * 32}, "wrong key"),
    ],
)
def test_cache_only_refuses_what_does_not_fit(
    make_use: MakeUse, built: dict[str, Any], wanted: dict[str, Any], expected: str
) -> None:
    use = make_use(**built)
    use.ensure(splits_of(use))
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        make_use(**wanted).open_alone()
    assert KEY not in str(caught.value)


def test_cache_only_wants_the_size_it_is_asked_for(make_use: MakeUse) -> None:
    use = make_use()
    use.ensure(splits_of(use))
    other = make_use((64, 96))
    shutil.copytree(use.folder, other.folder)
    with pytest.raises(UserError, match="size mismatch: the cache is for 64 x 64, not 96 x 64"):
        other.open_alone()


def test_the_key_is_not_shown(make_use: MakeUse) -> None:
    use = make_use(cache_encrypt=True)
    use.ensure(splits_of(use))
    assert KEY not in repr((use, use.open(), replace(use)))
