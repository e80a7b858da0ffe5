"""Training from a cache: the same batches, no source image, flat memory."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_FIT, assert_user_error, run_yolo
from tests.data.cache.secret_dataset import COCO_OPTIONS, KEY, CountingLoader, write_secret_dataset
from tests.training.test_module import TINY
from yolo.data.batch import Batch
from yolo.data.datamodule import YOLODataModule

COUNTER = "tests.data.cache.secret_dataset.CountingLoader"
RAW: dict[str, Any] = {"cache_format": "raw", "cache_resize_images": False}


@pytest.fixture
def make_data(dataset: Path, tmp_path: Path) -> Callable[..., YOLODataModule]:
    def make(**options: Any) -> YOLODataModule:
        given = {"format": "yolo", "root": str(dataset), "cache_dir": str(tmp_path / "caches"), "batch_size": 4}
        module = YOLODataModule((64, 64), CountingLoader(), **{**given, "num_workers": 0, **options})
        module.prepare_data()
        module.setup("fit")
        return module

    return make


def digests(module: YOLODataModule, epochs: int = 2) -> list[str]:
    """Of every training batch and every validation batch."""

    def digest(batch: Batch) -> str:
        return hashlib.sha256(batch.images.numpy().tobytes() + batch.targets.numpy().tobytes()).hexdigest()

    train, val = module.train_dataloader(), module.val_dataloader()
    found = []
    for epoch in range(epochs):
        train.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += [digest(batch) for batch in train]
    return found + [digest(batch) for batch in val]


@pytest.mark.slow
@pytest.mark.parametrize("encrypt", [False, True])
def test_batches_do_not_depend_on_workers_or_the_cache(
    make_data: Callable[..., YOLODataModule], encrypt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    expected = digests(make_data())
    cache = {**RAW, "cache_images": "disk", "cache_encrypt": encrypt}
    assert digests(make_data(**cache)) == expected
    # Spawned workers take seconds to start; without a cache tests of the data module have them.
    for method, workers in (("fork", 2), ("fork", 4), ("spawn", 4 if encrypt else 2)):
        assert digests(make_data(**cache, num_workers=workers, start_method=method)) == expected
    assert digests(make_data(num_workers=4, start_method="fork")) == expected


def test_only_the_build_decodes_images(make_data: Callable[..., YOLODataModule]) -> None:
    for mode in ("ram", "disk"):
        CountingLoader.decoded = 0
        module = make_data(cache_images=mode, cache_format="raw")
        assert CountingLoader.decoded == (17 if mode == "ram" else 0)
        digests(module)
        assert CountingLoader.decoded == (17 if mode == "ram" else 0)
    CountingLoader.decoded = 0
    digests(make_data())
    assert CountingLoader.decoded > 0


def test_a_resized_raw_cache_validates_on_the_same_pixels(make_data: Callable[..., YOLODataModule]) -> None:
    cached = make_data(cache_images="disk", cache_format="raw")
    for ours, theirs in zip(cached.val_dataloader(), make_data().val_dataloader(), strict=True):
        assert ours.images.equal(theirs.images)
        assert [record.size for record in ours.records] == [record.size for record in theirs.records]


def test_refresh_and_rebuild_reach_an_open_data_module(make_data: Callable[..., YOLODataModule]) -> None:
    module = make_data(cache_images="disk", cache_refresh=True)
    first = module.pixels("val")
    again = make_data(cache_images="disk", cache_refresh=True)
    assert again._cache is not None
    assert module._cache is not None
    assert again._cache.cache.header.cache_id != module._cache.cache.header.cache_id
    assert first(0).any()


@pytest.mark.parametrize("form", ["yolo", "coco"])
@pytest.mark.parametrize("encrypt", [False, True])
def test_cache_only_needs_no_file_of_the_dataset(
    make_data: Callable[..., YOLODataModule], dataset: Path, form: str, encrypt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    options: dict[str, Any] = {**RAW, "cache_images": "disk", "cache_encrypt": encrypt}
    options |= COCO_OPTIONS if form == "coco" else {}
    (dataset / "few.txt").write_text("".join(f"patient-train-{i:03}\n" for i in range(0, 12, 2)))
    options |= {"train_split": "few.txt"}
    before = make_data(**options)
    assert before.train is not None
    assert len(before.train.images) == 6
    expected = digests(before)
    shutil.rmtree(dataset)
    after = make_data(**options, cache_only=True)
    assert digests(after) == expected
    assert (after.class_names, after.category_ids) == (before.class_names, before.category_ids)
    for name in ("train", "val"):
        for a, b in zip(getattr(before, name).images, getattr(after, name).images, strict=True):
            assert (a.image_id, a.crowd.tolist(), a.areas.tolist()) == (b.image_id, b.crowd.tolist(), b.areas.tolist())


def test_a_read_only_dataset_stays_as_it_is(make_data: Callable[..., YOLODataModule], dataset: Path) -> None:
    entries = [dataset, *sorted(dataset.rglob("*"))]
    before = [(path, path.stat().st_mtime_ns) for path in entries]
    for path in entries:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        digests(make_data(cache_images="disk"))
    finally:
        for path in entries:
            path.chmod(0o755)
    assert [(path, path.stat().st_mtime_ns) for path in [dataset, *sorted(dataset.rglob("*"))]] == before


def test_validation_takes_the_cache_if_it_fits(
    make_data: Callable[..., YOLODataModule], dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def validation() -> YOLODataModule:
        given = {"format": "yolo", "root": str(dataset), "cache_dir": str(tmp_path / "caches")}
        module = YOLODataModule((64, 64), CountingLoader(), **given, cache_images="disk", num_workers=0)
        module.setup("validate")
        return module

    assert validation()._cache is None
    assert "reading image files, not the cache: " in caplog.text
    assert not (tmp_path / "caches").exists()
    make_data(cache_images="disk")
    assert validation()._cache is not None


def rows(folder: Path) -> list[dict[str, str]]:
    return [
        {name: value for name, value in row.items() if "time" not in name}
        for row in csv.DictReader((folder / "runs/quickstart/version_0/metrics.csv").open())
    ]


@pytest.mark.slow
def test_fit_from_a_cache_learns_what_it_learns_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    root = tmp_path / "data"
    write_secret_dataset(root)
    given = [*TINY_FIT, "--data.format=yolo", f"--data.root={root}", f"--data.cache_dir={tmp_path / 'caches'}"]
    given += [f"--data.image_loader.class_path={COUNTER}", "--data.batch_size=4", f"--model.model_config={TINY}"]
    raw = ["--data.cache_format=raw", "--data.cache_resize_images=false", "--data.cache_encrypt=true"]
    runs: dict[str, list[str]] = {
        "files": [],
        "ram": [*raw, "--data.cache_images=ram"],
        "disk": [*raw, "--data.cache_images=disk"],
        "only": [*raw, "--data.cache_images=disk", "--data.cache_only=true", f"--data.encryption_key={KEY}"],
    }
    decoded = {}
    for name, options in runs.items():
        if name == "only":
            shutil.rmtree(root)
            monkeypatch.delenv("YOLO_ENCRYPTION_KEY")
        (tmp_path / name).mkdir()
        CountingLoader.decoded = 0
        done = run_yolo(*given, *options, cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        decoded[name] = CountingLoader.decoded
        picture = tmp_path / name / "runs/quickstart/version_0/predictions.jpg"
        assert picture.is_file() is (name == "files"), "none of images that are encrypted where they lie"
        assert rows(tmp_path / name) == rows(tmp_path / "files")
    assert decoded["files"] > 17
    assert (decoded["ram"], decoded["disk"], decoded["only"]) == (17, 0, 0)
    run = tmp_path / "only/runs/quickstart/version_0"
    best = run / "checkpoints/best.ckpt"
    measure = ["validate", "--checkpoint", best, f"--network={TINY}", "--data.image_loader.class_path", COUNTER]
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    done = run_yolo(*measure, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "encryption_key: null" in (run / "config.yaml").read_text()
    assert KEY.encode() not in best.read_bytes() + (run / "config.yaml").read_bytes()
    monkeypatch.delenv("YOLO_ENCRYPTION_KEY")
    assert_user_error(run_yolo(*measure), "there is no key")


def held(process: int) -> tuple[int, int]:
    """Resident KiB and open files of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return resident, len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("options", [{}, {**RAW, "cache_images": "ram"}, {**RAW, "cache_encrypt": True}])
def test_memory_and_open_files_stay_flat(
    make_data: Callable[..., YOLODataModule], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    if options.get("cache_encrypt"):
        options = {**options, "cache_images": "disk"}
    module = make_data(**options, num_workers=2, start_method="fork", image_buffer_mb=1)
    train, val = module.train_dataloader(), module.val_dataloader()
    seen = []
    for epoch in range(14):
        for _ in range(1 if epoch else 3):
            train.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            assert sum(len(batch) for batch in train) == 12
            assert sum(len(batch) for batch in val) == 5
        workers = [worker.pid for loader in (train, val) for worker in loader._iterator._workers]  # type: ignore[union-attr]
        seen.append([held(process) for process in (os.getpid(), *workers)])
    for second, last in zip(seen[1], seen[-1], strict=True):
        assert last[1] <= second[1] + 6, "open files: the batches under way have some"
        assert last[0] <= 1.03 * second[0] + 2048, "resident memory"
    for loader in (train, val):
        loader._iterator._shutdown_workers()  # type: ignore[union-attr]
