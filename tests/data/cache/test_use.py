from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.cache.conftest import splits_of
from tests.data.cache.secret_dataset import COCO_OPTIONS, KEY
from tests.data.cache.test_store import put
from yolo.data.cache import use as module
from yolo.data.cache.header import DATA_FILE, HEADER_KEY, CacheHeader, read_header
from yolo.data.cache.use import CacheUse, OpenSplits
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
    assert first.ensure(splits_of(first)).built
    change(dataset)
    use = make_use(**options)
    splits = splits_of(use)
    with caplog.at_level(logging.WARNING):
        found = use.ensure(splits)
    assert found.built is (reason is not None)
    assert caplog.messages == ([f"building the cache {use.folder} anew: {reason}"] if reason else [])
    assert isinstance(use.find(splits), OpenSplits)
    assert found.cache.spec.cache_format == use.options.cache_format


def test_another_seed_only_matters_to_a_fraction(make_use: MakeUse) -> None:
    for fraction, reasons in ((1.0, []), (0.5, ["settings changed (size/fraction)"])):
        use = make_use(data_fraction=fraction)
        splits = splits_of(use)
        use.ensure(splits)
        found = make_use(seed=1, data_fraction=fraction).find(splits)
        assert found == reasons if reasons else isinstance(found, OpenSplits)


def test_a_damaged_cache_and_one_of_another_version(make_use: MakeUse, monkeypatch: pytest.MonkeyPatch) -> None:
    use = make_use()
    splits = splits_of(use)
    cache = use.ensure(splits).cache
    put(use.folder / DATA_FILE, {HEADER_KEY: replace(cache.header, version=2).pack()})
    assert use.find(splits) == ["version changed (2 -> 1)"]
    assert use.ensure(splits).built
    os.truncate(use.folder / DATA_FILE, 30_000)
    assert "the file is truncated" in str(use.find(splits))
    assert use.ensure(splits).built
    monkeypatch.setattr(module, "open_header", lambda _: CacheHeader.unpack(b"damaged", use.folder))
    assert "header of the cache is damaged" in str(use.find(splits))


def test_an_encrypted_cache_is_not_replaced_for_want_of_its_key(make_use: MakeUse) -> None:
    use = make_use(cache_encrypt=True)
    splits = splits_of(use)
    use.ensure(splits)
    for key, expected in (("ff" * 32, "wrong key"), (None, "data.cache_encrypt is true, and there is no key")):
        with pytest.raises(UserError, match=expected):
            make_use(cache_encrypt=True, encryption_key=key).ensure(splits)
    assert isinstance(use.find(splits), OpenSplits)


def test_an_encrypted_cache_is_not_replaced_by_one_in_clear_unasked(make_use: MakeUse) -> None:
    secret, clear = make_use(cache_encrypt=True), make_use()
    splits = splits_of(secret)
    before = secret.ensure(splits).cache.header
    with pytest.raises(UserError) as caught:
        clear.ensure(splits)
    assert str(caught.value) == (
        f"{clear.folder}: the cache is encrypted, data.cache_encrypt is false: set it, or --data.cache_refresh=true "
        "(cache-create --force) to replace it by one in clear"
    )
    assert clear.find(splits) == ["encryption changed (encrypted -> unencrypted)"], "whose images stay where they are"
    assert read_header(clear.folder) == before
    assert not clear.ensure(splits, refresh=True).cache.header.encrypted


def test_an_encrypted_cache_of_another_version_is_one_too(make_use: MakeUse) -> None:
    use = make_use(cache_encrypt=True)
    splits = splits_of(use)
    put(use.folder / DATA_FILE, {HEADER_KEY: replace(use.ensure(splits).cache.header, version=2).pack()})
    with pytest.raises(UserError, match=r"the cache is encrypted, data\.cache_encrypt is false"):
        make_use().ensure(splits)


def test_refresh_replaces_even_what_has_another_key(make_use: MakeUse) -> None:
    use, other = make_use(cache_encrypt=True), make_use(cache_encrypt=True, encryption_key="ff" * 32)
    splits = splits_of(use)
    use.ensure(splits)
    assert other.ensure(splits, refresh=True).built
    with pytest.raises(UserError, match="wrong key"):
        use.find(splits)


def test_what_was_compared_is_what_is_used(make_use: MakeUse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process builds the cache of another split into the same folder in the worst moment."""
    use = make_use(cache_format="raw", cache_resize_images=False)
    splits = splits_of(use)
    use.ensure(splits)
    backwards = {name: replace(split, images=split.images[::-1]) for name, split in splits.items()}
    compare = module.differences

    def compare_and_replace(*specs: Any) -> list[str]:
        found = compare(*specs)
        monkeypatch.setattr(module, "differences", compare)
        use.ensure(backwards, refresh=True)
        return found

    monkeypatch.setattr(module, "differences", compare_and_replace)
    pixels = use.ensure(splits).pixels("train")
    for index, image in enumerate(splits["train"].images):
        assert np.array_equal(pixels(index), use.loader(image.path))


def test_refresh_builds_it_anew(make_use: MakeUse, caplog: pytest.LogCaptureFixture) -> None:
    use = make_use()
    splits = splits_of(use)
    use.ensure(splits)
    before = use.ensure(splits).cache.header.cache_id
    with caplog.at_level(logging.WARNING):
        after = use.ensure(splits, refresh=True)
    assert caplog.messages == [f"building the cache {use.folder} anew: asked for"]
    assert after.built
    assert after.cache.header.cache_id != before


def test_a_cache_larger_than_the_memory_for_it(make_use: MakeUse, caplog: pytest.LogCaptureFixture) -> None:
    use = make_use(cache_images="ram", cache_max_memory_gb=0)
    found = use.ensure(splits_of(use))
    with caplog.at_level(logging.WARNING):
        use.read_ahead(found.cache)
    assert "are more than data.cache_max_memory_gb=0: read as needed" in caplog.text


def test_cache_only_looks_in_the_dataset_folder_and_the_default_one(
    make_use: MakeUse, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CACHE_DIR", str(tmp_path / "default"))
    use = make_use(cache_dir=None)
    with pytest.raises(UserError, match=r"data\.cache_only: there is no cache .*dataset/\.yolo_cache_64x64_f1\.0 or"):
        use.open_alone()
    use.ensure(splits_of(use))
    assert use.open_alone().cache.folder == use.folder
    shutil.move(use.folder, dataset / use.name)
    assert use.open_alone().cache.folder == dataset / use.name


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
    found = use.ensure(splits_of(use))
    assert KEY not in repr((use, found.cache, replace(use)))
