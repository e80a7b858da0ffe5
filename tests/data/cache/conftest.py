from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.cache.secret_dataset import KEY, write_secret_dataset
from yolo.data.cache.store import Cache
from yolo.data.cache.use import CacheUse
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split

MakeCache = Callable[..., tuple[Cache, CacheUse]]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A YOLO and COCO dataset of twelve and five images."""
    root = tmp_path / "dataset"
    write_secret_dataset(root)
    return root


@pytest.fixture
def make_use(dataset: Path, tmp_path: Path) -> Callable[..., CacheUse]:
    """What a data module of the dataset would ask of its cache."""

    def make(size: tuple[int, int] = (64, 64), seed: int = 0, **options: Any) -> CacheUse:
        given = {"format": "yolo", "root": str(dataset), "cache_dir": str(tmp_path / "caches"), "cache_images": "disk"}
        given |= {"encryption_key": KEY} if options.get("cache_encrypt") else {}
        return CacheUse(DataOptions(**{**given, **options}), size, DefaultImageLoader(), seed)

    return make


@pytest.fixture
def make_cache(make_use: Callable[..., CacheUse]) -> MakeCache:
    """A cache of both splits, built and open."""

    def make(**options: Any) -> tuple[Cache, CacheUse]:
        use = make_use(**options)
        return use.ensure(splits_of(use)).cache, use

    return make


def splits_of(use: CacheUse) -> dict[Any, Any]:
    """Both splits, read from the dataset."""
    names: tuple[Any, ...] = ("train", "val")
    return {name: read_split(use.options, name, use.loader) for name in names}
