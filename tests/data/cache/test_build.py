from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import run_yolo
from tests.data.cache.conftest import MakeCache, splits_of
from tests.data.cache.secret_dataset import write_secret_dataset
from tests.processes import Launched
from yolo.data.cache import build as module
from yolo.data.cache.header import DATA_FILE
from yolo.data.cache.store import open_cache
from yolo.data.cache.verify import verify_cache
from yolo.data.keys import EncryptionKey
from yolo.errors import UserError

Usage = namedtuple("Usage", "total used free")


def free_bytes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, count))


@pytest.mark.parametrize("options", [{"cache_format": "raw"}, {"cache_format": "raw", "cache_lz4": True}, {}])
def test_the_bytes_needed_are_said_and_about_right(
    make_cache: MakeCache, capsys: pytest.CaptureFixture[str], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[int] = []
    require = module._Work.require_space
    monkeypatch.setattr(module._Work, "require_space", lambda work: announced.append(work.bytes) or require(work))
    cache, use = make_cache(**options)
    assert 0.8 * cache.file_size < announced[0] < 1.4 * cache.file_size + 100_000
    about = "" if options == {"cache_format": "raw"} else "about "
    assert f"cache {use.folder}: 17 images, {about}" in capsys.readouterr().out


def test_too_little_space(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free_bytes(monkeypatch, 9000)
    with pytest.raises(UserError, match=r"caches: the cache needs about \d+ KiB, and only 9 KiB are free"):
        make_cache()
    assert [path.name for path in (tmp_path / "caches").iterdir()] == [".yolo_cache_64x64_f1.0.lock"]


def test_a_disk_that_fills_up(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_put", full)
    with pytest.raises(UserError, match=r"caches: the cache could not be written there \(No space left on device\)"):
        make_cache()
    assert [path.name for path in (tmp_path / "caches").iterdir()] == [".yolo_cache_64x64_f1.0.lock"]


def test_the_map_grows(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAP_BYTES", 40_000)
    monkeypatch.setattr(module, "_WRITE_BYTES", 1)
    monkeypatch.setattr(module._Work, "_bytes_needed", lambda _: 0)
    cache, use = make_cache(cache_format="raw")
    assert cache.file_size > 200_000
    assert verify_cache(use.folder, None).intact


def test_an_image_that_cannot_be_read_leaves_the_cache_before(make_cache: MakeCache, dataset: Path) -> None:
    cache, use = make_cache()
    (dataset / "images/val/patient-val-003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"patient-val-003\.png: not a complete image"):
        use.ensure(splits_of_old(use, cache), refresh=True)
    assert verify_cache(use.folder, None).intact
    assert len(list(use.folder.parent.iterdir())) == 2


def splits_of_old(use: Any, cache: Any) -> dict[Any, Any]:
    return {name: cache.split(name, Path(use.options.root))[0] for name in ("train", "val")}


def test_an_image_in_both_splits_is_kept_once(make_use: Any) -> None:
    use = make_use()
    train = splits_of(use)["train"]
    use.ensure({"train": train, "val": replace(train, images=train.images[::-1][:5])})
    cache = open_cache(use.folder, None)
    assert len(cache.index.paths) == 12
    assert cache.split("val", Path())[1].tolist() == [11, 10, 9, 8, 7]


def test_what_a_kill_left_is_removed(make_cache: MakeCache, make_use: Any) -> None:
    partial = make_use().folder.with_name(f"{make_use().folder.name}.partial")
    partial.mkdir(parents=True)
    (partial / DATA_FILE).write_bytes(b"half")
    _, use = make_cache()
    assert not partial.exists()
    assert verify_cache(use.folder, None).intact


def test_the_number_of_threads_does_not_matter(make_cache: MakeCache, tmp_path: Path) -> None:
    contents = []
    for workers in (1, 4):
        cache, _ = make_cache(cache_workers=workers, cache_dir=str(tmp_path / f"w{workers}"))
        contents.append([cache.image(n).tobytes() for n in range(17)])
    assert contents[0] == contents[1]


CREATE = ["cache-create", "--data.format=yolo", "--size=256", "--encrypt", "--workers=2"]


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing_that_passes_for_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret_dataset(tmp_path / "data", {"train": 160, "val": 40}, (300, 400))
    key = "ab" * 32
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", key)
    options = [f"--data.root={tmp_path / 'data'}", "--cache-format=raw", "--no-resize"]
    rng, interrupted = random.Random(0), 0
    for turn in range(20):
        out = tmp_path / str(turn)
        folder = out / ".yolo_cache_orig_f1.0"
        command = [*CREATE, *options, f"--output-dir={out}"]
        create = Launched(*command, cwd=tmp_path)
        create.wait_until(lambda: "needed" in create.stdout)  # noqa: B023
        time.sleep(rng.uniform(0, 0.4))
        create.send_signal(signal.SIGKILL, group=True)
        create.finish()
        interrupted += (out / f"{folder.name}.partial").exists()
        there = (folder / DATA_FILE).exists()
        done = run_yolo(*command)
        assert done.stdout.endswith(f"{folder} is {'up to date' if there else 'complete'}\n"), done.stderr
        cache = open_cache(folder, EncryptionKey(bytes.fromhex(key)))
        assert sum(cache.image(n).any() for n in range(200)) == len(cache.index.paths) == 200
        assert there or not (out / f"{folder.name}.partial").exists()
        shutil.rmtree(out)
    assert interrupted > 5, "most kills must come in the middle"


@pytest.mark.slow
def test_two_processes_that_build_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", "ab" * 32)
    write_secret_dataset(tmp_path / "data", {"train": 40, "val": 9})
    command = [*CREATE, f"--data.root={tmp_path / 'data'}", f"--output-dir={tmp_path / 'caches'}"]
    both = [Launched(*command, cwd=tmp_path) for _ in range(2)]
    done = [create.finish() for create in both]
    assert sorted(one.stdout.splitlines()[-1].partition(" is ")[2] for one in done) == ["complete", "up to date"]
    assert [one.returncode for one in done] == [0, 0]


def test_images_are_as_large_as_their_annotations_say(make_use: Any, dataset: Path) -> None:
    use = make_use()
    splits = splits_of(use)
    path = splits["val"].images[0].path
    cv2.imwrite(str(path), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(UserError, match="the image is 9 x 9 pixels"):
        use.ensure(splits)
