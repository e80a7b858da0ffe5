from __future__ import annotations

import json
import logging
import os
import random
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.data.test_packing import assert_same
from yolo.data import label_cache
from yolo.data.annotations import AnnotatedSet
from yolo.data.label_cache import cached_split
from yolo.data.loaders import DefaultImageLoader, Image, ImageLoader, load_image
from yolo.data.options import DataOptions
from yolo.data.source import read_split
from yolo.errors import UserError

LOADER = DefaultImageLoader()


class OtherLoader(DefaultImageLoader):
    """Reads the same, for all that we know differently."""


class Half(ImageLoader):
    suffixes = frozenset({".jpg"})

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, path: Path) -> Image:
        return load_image(LOADER, path)[::2]


class Cached:
    """A dataset read through the cache, and how often it was really read."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.options = DataOptions(**{"format": "yolo", "root": str(root), "cache_dir": str(root / "cache"), **options})
        self.reads = 0

    def __call__(self, loader: ImageLoader = LOADER, split: Any = "train", **options: Any) -> AnnotatedSet:
        given = DataOptions(**{**self.options.public(), **options})
        got = cached_split(given, split, loader, self.read)
        assert_same(got, read_split(given, split, loader))
        return got

    def read(self, *arguments: Any) -> AnnotatedSet:
        self.reads += 1
        return read_split(*arguments)

    @property
    def file(self) -> Path:
        (file,) = Path(str(self.options.cache_dir)).iterdir()
        return file


@pytest.fixture(autouse=True)
def all_files_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of these tests were made moments ago."""
    monkeypatch.setattr(label_cache, "_FRESH_NS", -3_600_000_000_000)


@pytest.fixture
def dataset(yolo: Callable[..., Path]) -> Cached:
    return Cached(yolo())


def test_the_second_time_nothing_is_read(dataset: Cached) -> None:
    first = dataset()
    assert_same(dataset(), first)
    assert dataset.reads == 1
    assert all(image.boxes.flags.writeable for image in dataset().images)  # as those of the reader


def test_each_split_has_its_own(dataset: Cached) -> None:
    dataset()
    dataset(split="val")
    assert dataset.reads == 2
    dataset()
    dataset(split="val")
    assert dataset.reads == 2


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def keep_times(path: Path, act: Callable[[], Any]) -> None:
    before = path.stat()
    act()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit_label(root: Path) -> None:
    rewrite(root / "labels/train/a.txt", lambda t: t.replace("0.5", "0.4"))


def relabel_in_the_past(root: Path) -> None:
    """Another file with the size and the mtime of the old one takes its place."""
    path = root / "labels/train/a.txt"
    times = path.stat()
    new = root / "new.txt"
    new.write_text(path.read_text().replace("0.5", "0.4"))
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(path)


def make_link(root: Path) -> None:
    shutil.move(root / "labels/train", root / "elsewhere")
    rewrite(root / "elsewhere/a.txt", lambda t: t.replace("0.5", "0.4"))
    (root / "labels/train").symlink_to(root / "elsewhere")


CHANGES: dict[str, Callable[[Path], Any]] = {
    "label edited": edit_label,
    "label edited, same size and mtime": lambda root: keep_times(root / "labels/train/a.txt", lambda: edit_label(root)),
    "label longer, same mtime": lambda root: keep_times(
        root / "labels/train/a.txt", lambda: rewrite(root / "labels/train/a.txt", lambda t: t + t)
    ),
    "label replaced, same size and mtime": relabel_in_the_past,
    "label older than before": lambda root: (edit_label(root), os.utime(root / "labels/train/a.txt", (1, 1))),
    "label added": lambda root: (root / "labels/train/c.txt").write_text("0 0.5 0.5 0.1 0.1"),
    "label deleted": lambda root: (root / "labels/train/a.txt").unlink(),
    "label renamed": lambda root: (root / "labels/train/a.txt").rename(root / "labels/train/c.txt"),
    "label emptied": lambda root: (root / "labels/train/a.txt").write_text(""),
    "labels behind a link": make_link,
    "image of another size": lambda root: shutil.copy(root / "images/train/b.PNG", root / "images/train/a.jpg"),
    "image added": lambda root: shutil.copy(root / "images/train/a.jpg", root / "images/train/d.jpg"),
    "image deleted": lambda root: (root / "images/train/c.jpg").unlink(),
    "image renamed": lambda root: (root / "images/train/c.jpg").rename(root / "images/train/d.jpg"),
    "folder of images added": lambda root: shutil.copytree(root / "images/val", root / "images/train/more"),
    "data.yaml: another name": lambda root: rewrite(root / "data.yaml", lambda t: t.replace("cat", "cow")),
    "data.yaml: one more class": lambda root: (root / "data.yaml").write_text("names: [cat, dog, cow]"),
    "data.yaml: another place": lambda root: (root / "data.yaml").write_text("names: [cat, dog]\ntrain: images/val"),
    "data.yaml gone, classes.txt there": lambda root: (
        (root / "data.yaml").unlink(),
        (root / "classes.txt").write_text("x\ny\n"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_makes_it_stale(name: str, dataset: Cached) -> None:
    dataset()
    CHANGES[name](Path(dataset.options.root))
    dataset()  # compares with what the reader says
    assert dataset.reads == 2
    dataset()
    assert dataset.reads == 2


def test_files_that_nobody_looks_at(dataset: Cached) -> None:
    root = Path(dataset.options.root)
    dataset()
    (root / "labels/train/notes.md").write_text("x")
    (root / "images/train/train.log").write_text("x")
    (root / "labels/val/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    dataset()
    assert dataset.reads == 1


@pytest.mark.parametrize(
    "options",
    [
        {"on_bad_label": "skip"},
        {"train_images": "images/val"},
        {"train_labels": "labels/val"},
        {"train_split": "names.txt"},
        {"loader": OtherLoader()},
        {"loader": Half(1)},
    ],
)
def test_other_options_are_another_question(options: dict[str, Any], dataset: Cached) -> None:
    (Path(dataset.options.root) / "names.txt").write_text("a\n")
    dataset()
    dataset(**options)
    assert dataset.reads == 2
    dataset()
    dataset(**options)
    assert dataset.reads == 2


def test_settings_of_a_loader_are_another_question(dataset: Cached) -> None:
    dataset(Half(1))
    dataset(Half(2))
    assert dataset.reads == 2
    dataset(Half(1))
    assert dataset.reads == 2


def test_two_datasets_may_share_a_cache_folder(dataset: Cached, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-other"
    shutil.copytree(dataset.options.root, other)
    rewrite(other / "data.yaml", lambda t: t.replace("cat", "cow"))
    dataset()
    assert dataset(root=str(other)).class_names == ("cow", "dog")
    assert dataset().class_names == ("cat", "dog")
    assert dataset.reads == 2


def test_split_file(dataset: Cached) -> None:
    names = Path(dataset.options.root) / "names.txt"
    names.write_text("a\n")
    dataset(train_split="names.txt")
    names.write_text("b\n")
    assert [image.path.name for image in dataset(train_split="names.txt").images] == ["b.PNG"]
    assert dataset.reads == 2


@pytest.mark.parametrize("lines", ["images/train/a.jpg\n", "lists/../images/train/a.jpg\n"])
def test_list_of_images(lines: str, dataset: Cached) -> None:
    root = Path(dataset.options.root)
    (root / "lists").mkdir()
    listing = root / "lists" / "train.txt"
    listing.write_text(lines)
    dataset(train_images="lists/train.txt")
    dataset(train_images="lists/train.txt")
    assert dataset.reads == 1
    edit_label(root)
    dataset(train_images="lists/train.txt")
    assert dataset.reads == 2
    listing.write_text(lines.replace("a.jpg", "b.PNG"))
    dataset(train_images="lists/train.txt")
    assert dataset.reads == 3
    shutil.copytree(root / "images", root / "lists" / "images")  # beside the list goes before
    (root / "lists" / "images" / "train" / "b.PNG").write_bytes((root / "images/train/a.jpg").read_bytes())
    if not lines.startswith("lists"):
        shutil.copytree(root / "labels", root / "lists" / "labels")
    dataset(train_images="lists/train.txt")
    assert dataset.reads == (3 if lines.startswith("lists") else 4)


def test_labels_beside_images_and_symbolic_links(dataset: Cached, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("a.jpg", "c.jpg"):
        (mixed / name).symlink_to(tmp_path / "images/train" / name)
    (mixed / "a.txt").symlink_to(tmp_path / "labels/train/a.txt")
    (mixed / "broken.jpg.txt").symlink_to("nowhere")
    dataset(train_images="mixed")
    dataset(train_images="mixed")
    assert dataset.reads == 1
    edit_label(tmp_path)
    dataset(train_images="mixed")
    assert dataset.reads == 2


def test_paths_above_a_root_behind_a_link(dataset: Cached, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    (deep / "set").mkdir(parents=True)
    (tmp_path / "data.yaml").rename(deep / "set" / "data.yaml")
    for name in ("images", "labels"):
        shutil.move(tmp_path / name, deep / name)
    root = tmp_path / "root"
    root.symlink_to(deep / "set")
    options = {"root": str(root), "train_images": "../images/train"}
    assert_same(dataset(**options), dataset(**options))
    assert dataset.reads == 1


def test_coco(coco: Callable[..., Path], tmp_path: Path) -> None:
    coco()
    dataset = Cached(tmp_path, format="coco", train_images="images", train_ann="ann.json")
    dataset()
    assert_same(dataset(), dataset())
    assert dataset.reads == 1
    (tmp_path / "images" / "a.jpg").write_text("sizes are those of the annotation file")
    dataset()
    assert dataset.reads == 1
    (tmp_path / "images" / "new.jpg").write_text("may be what the reader would rather take")
    dataset()
    assert dataset.reads == 2
    rewrite(tmp_path / "ann.json", lambda t: t.replace("123.5", "124.5"))
    dataset()
    assert dataset.reads == 3
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"a\.jpg: no such image file"):
        cached_split(dataset.options, "train", LOADER, dataset.read)


def test_coco_images_behind_a_link(coco: Callable[..., Path], tmp_path: Path) -> None:
    coco()
    (tmp_path / "train2017").mkdir()
    (tmp_path / "annotations").mkdir()
    rewrite(tmp_path / "ann.json", lambda t: t.replace('"b.jpg', '"link/b.jpg').replace('"a.jpg', '"../images/a.jpg'))
    (tmp_path / "ann.json").rename(tmp_path / "annotations/instances_train2017.json")
    (tmp_path / "train2017" / "link").symlink_to("../images")
    dataset = Cached(tmp_path, format="coco")
    dataset()
    assert_same(dataset(), dataset())
    assert dataset.reads == 1
    (tmp_path / "images" / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"b\.jpg: no such image file"):
        cached_split(dataset.options, "train", LOADER, dataset.read)


def test_listed_images_with_endings_of_their_own(dataset: Cached) -> None:
    root = Path(dataset.options.root)
    (root / "images/train/a.jpg").rename(root / "images/train/a.pic")
    (root / "train.txt").write_text("images/train/a.pic\n")
    dataset(train_images="train.txt", loader=Half(1))
    shutil.copy(root / "images/train/c.jpg", root / "images/train/a.pic")
    dataset(train_images="train.txt", loader=Half(1))
    assert dataset.reads == 2


@pytest.mark.slow
def test_fresh_files_are_not_trusted(dataset: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second edit within a tick of a coarse clock leaves no other trace than the content."""
    monkeypatch.setattr(label_cache, "_FRESH_NS", 2_000_000_000)
    root = Path(dataset.options.root)
    dataset()
    assert not (root / "cache").exists()
    time.sleep(2.1)
    dataset()
    assert dataset.file.is_file()
    dataset()
    assert dataset.reads == 2


def test_clock_that_is_ahead(dataset: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_cache, "_FRESH_NS", 0)
    ahead = time.time() + 3600
    os.utime(Path(dataset.options.root) / "labels/train/a.txt", (ahead, ahead))
    dataset()
    dataset()
    assert dataset.reads == 2


def test_a_change_while_reading(dataset: Cached) -> None:
    root = Path(dataset.options.root)

    def read_and_edit(*arguments: Any) -> AnnotatedSet:
        result = dataset.read(*arguments)
        edit_label(root)
        return result

    cached_split(dataset.options, "train", LOADER, read_and_edit)
    dataset()
    assert dataset.reads == 2


def test_bad_labels_are_reported_each_time(yolo: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    dataset = Cached(yolo("1 0.5 0.5 0.2 0.4\nnonsense\n"), on_bad_label="skip")
    with caplog.at_level(logging.WARNING):
        for reads in (1, 1):
            caplog.clear()
            got = cached_split(dataset.options, "train", LOADER, dataset.read)
            assert got.skipped == {"malformed lines": 1}
            assert "1 malformed lines" in caplog.text
            assert dataset.reads == reads


def test_a_dataset_without_labels_is_warned_of_each_time(dataset: Cached, caplog: pytest.LogCaptureFixture) -> None:
    for path in (Path(dataset.options.root) / "labels/train").iterdir():
        path.unlink()
    for _ in range(2):
        caplog.clear()
        cached_split(dataset.options, "train", LOADER, dataset.read)
        assert "no image has a label file" in caplog.text


def test_errors_are_the_reader_s(dataset: Cached) -> None:
    dataset()
    (Path(dataset.options.root) / "labels/train/a.txt").write_text("nonsense")
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.txt:1"):
            cached_split(dataset.options, "train", LOADER, dataset.read)
    shutil.rmtree(Path(dataset.options.root) / "images")
    with pytest.raises(UserError, match="no such image folder"):
        cached_split(dataset.options, "train", LOADER, dataset.read)
    with pytest.raises(UserError, match="no such dataset folder"):
        cached_split(DataOptions(format="yolo", root="nowhere"), "train", LOADER, dataset.read)


@pytest.mark.parametrize("options", [{"cache_labels": False}, {"cache_encrypt": True}])
def test_not_used(options: dict[str, Any], dataset: Cached) -> None:
    dataset(**options)
    dataset(**options)
    assert dataset.reads == 2
    assert not Path(str(dataset.options.cache_dir)).exists()


def test_the_embedded_dataset_needs_none(tmp_path: Path) -> None:
    options = DataOptions(format="shapes", shapes_train=2, cache_dir=str(tmp_path / "cache"))
    cached_split(options, "train", LOADER, read_split)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("cache_dir", ["data.yaml", "data.yaml/below", "/proc/nothing"])
def test_a_folder_that_cannot_be_written(cache_dir: str, dataset: Cached, caplog: pytest.LogCaptureFixture) -> None:
    place = str(Path(dataset.options.root) / cache_dir)
    for reads in (1, 2):
        caplog.clear()
        dataset(cache_dir=place)
        assert dataset.reads == reads
        assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
        assert "cannot be written" in caplog.text


def test_the_dataset_folder_is_left_alone(dataset: Cached, tmp_path: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in (tmp_path, *tmp_path.rglob("*"))}

    before = state()
    outside = tmp_path.parent / f"{tmp_path.name}-cache"
    for _ in range(2):
        dataset(cache_dir=str(outside))
    assert state() == before
    assert stat.S_ISREG(next(outside.iterdir()).stat().st_mode)


# Damaged and hostile files


@pytest.mark.slow
def test_random_damage_is_noticed(dataset: Cached) -> None:
    dataset()
    good = dataset.file.read_bytes()
    rng = random.Random(0)
    damaged = [good[:i] for i in range(0, len(good), 7)]
    damaged += [rng.randbytes(rng.randrange(2000)) for _ in range(50)]
    damaged += [b"yolo labels 1\n" + rng.randbytes(rng.randrange(2000)) for _ in range(50)]
    for _ in range(200):
        position = rng.randrange(len(good))
        damaged.append(good[:position] + bytes([good[position] ^ 1 << rng.randrange(8)]) + good[position + 1 :])
    damaged.append(good + b"x")
    file = dataset.file
    for number, content in enumerate(damaged, start=2):
        file.write_bytes(content)
        cached_split(dataset.options, "train", LOADER, dataset.read)
        assert dataset.reads == number
        assert file.read_bytes() == good


def hostile_documents(good: dict[str, Any]) -> list[Any]:
    odd: list[Any] = [None, True, -1, 1.5, 1 << 63, "x", b"x", [], {}, [[]], [None], ["x"] * 3, [-1, 2, 3], [0.5] * 3,
                      [1 << 63] * 3, {"a": {}}, float("nan"), [[1]] * 3, [["a", "b"]] * 3, [[-1, 0]] * 3]  # fmt: skip
    found: list[Any] = [{**good, key: value} for key in good for value in odd]
    found += [{k: v for k, v in good.items() if k != key} for key in good]
    return [*found, *odd]


@pytest.mark.slow
def test_a_file_that_is_whole_but_not_ours(dataset: Cached) -> None:
    """With the right checksums, as only somebody who means it can make them."""
    dataset()
    file = dataset.file
    good = file.read_bytes()
    head = good[: len(label_cache._MAGIC) + 32]
    body = good[len(head) + 32 :]
    contents = [msgpack.packb(document) for document in hostile_documents(msgpack.unpackb(body))]
    contents += [b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"", b"\xc7\x01\x05x", body * 2]
    rng = random.Random(0)
    for _ in range(300):
        position = rng.randrange(len(body))
        contents.append(body[:position] + bytes([rng.randrange(256)]) + body[position + 1 :])
    for content in contents:
        file.write_bytes(head + label_cache._checksum(head, content) + content)
        got = cached_split(dataset.options, "train", LOADER, dataset.read)
        assert isinstance(got, AnnotatedSet)
        assert all(len(image.boxes) == len(image.classes) == len(image.areas) for image in got.images)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_something_else_in_its_place(kind: str, dataset: Cached, caplog: pytest.LogCaptureFixture) -> None:
    dataset()
    file = dataset.file
    file.unlink()
    os.mkfifo(file) if kind == "pipe" else file.mkdir()
    dataset()
    assert dataset.reads == 2


def test_two_processes_at_once(dataset: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes under its own temporary name."""
    dataset()
    first = dataset.file.read_bytes()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    dataset.file.with_name(f"{dataset.file.name}.2.partial").write_bytes(b"half of it")
    edit_label(Path(dataset.options.root))
    dataset()
    kept = {path.name: path.read_bytes() for path in Path(str(dataset.options.cache_dir)).iterdir()}
    assert len(kept) == 2
    assert first not in kept.values()


def test_labels_are_no_pickle(dataset: Cached) -> None:
    dataset()
    assert json.dumps(msgpack.unpackb(dataset.file.read_bytes()[len(label_cache._MAGIC) + 64 :])["class_names"])


def test_labels_in_clear_go_when_the_cache_is_encrypted(dataset: Cached, caplog: pytest.LogCaptureFixture) -> None:
    dataset()
    dataset(split="val")
    kept = set(Path(str(dataset.options.cache_dir)).iterdir())
    dataset(cache_encrypt=True)
    assert {file.name.split("-")[1] for file in Path(str(dataset.options.cache_dir)).iterdir()} == {"val"}
    assert len(kept) == 2
    assert "held labels in clear" in caplog.text
