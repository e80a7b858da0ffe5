"""Archives that somebody else made (issue 4, check 6): each is refused by one sentence and leaves no trace."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.small_cache import NAME, make_cache
from yolo.data.cache import unpack
from yolo.data.cache.header import DATA_FILE, read_header
from yolo.errors import UserError

ROOT = Path(__file__).parents[3]
END = bytes(1024)


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", size: int | None = None
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + data + bytes(-len(data) % 512)


def member(data: bytes, **changes: Any) -> dict[str, Any]:
    return {"name": DATA_FILE, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}


def manifest(data: bytes, **changes: Any) -> bytes:
    whole = {"format": "yolo cache archive", "version": 1, "folder": NAME, "members": [member(data)]}
    return json.dumps({**whole, **changes}).encode()


def top(data: bytes, **changes: Any) -> bytes:
    return entry("manifest.json", manifest(data, **changes))


def whole(data: bytes, **changes: Any) -> bytes:
    return top(data, **changes) + entry(DATA_FILE, data) + END


def pax(name: str, **fields: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.pax_headers = fields
    return info.tobuf(tarfile.PAX_FORMAT)


def with_checksum(block: bytes) -> bytes:
    """A tar header whose checksum is right again."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(DATA_FILE, data)
    return file.getvalue()


BOMB = bytes(160 << 20)


def header_bomb(kind: bytes) -> bytes:
    return entry("././@PaxHeader", kind=kind, size=len(BOMB)) + BOMB


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    # Names that lead elsewhere
    "member above": (lambda d: top(d) + entry("../data.mdb", d) + END, "'../data.mdb', expected data.mdb"),
    "member absolute": (lambda d: top(d) + entry("/tmp/data.mdb", d) + END, "expected data.mdb"),
    "member by backslash": (lambda d: top(d) + entry("..\\data.mdb", d) + END, "expected data.mdb"),
    "member in a folder": (lambda d: top(d) + entry(f"{NAME}/data.mdb", d) + END, "expected data.mdb"),
    "member with a dot": (lambda d: top(d) + entry("./data.mdb", d) + END, "expected data.mdb"),
    "member above by prefix field": (
        lambda d: top(d) + with_checksum(entry("data.mdb", d)[:345] + b"..".ljust(155, b"\0") + bytes(12)) + d + END,
        "'../data.mdb'",
    ),
    "member above by PAX path": (lambda d: top(d) + pax("data.mdb", path="../../evil") + d + END, "extended header"),
    "manifest above by PAX path": (lambda d: pax("manifest.json", path="../evil") + whole(d), "extended header"),
    "long GNU name": (lambda d: top(d) + entry("././@LongLink", b"../x", b"L") + END, "extended header"),
    "long GNU link": (lambda d: top(d) + entry("././@LongLink", b"../x", b"K") + END, "extended header"),
    "global PAX header": (lambda d: entry("pax", b"19 path=../../evil\n", b"g") + whole(d), "extended header"),
    "manifest: folder above": (lambda d: whole(d, folder="../.yolo_cache_x"), "the folder is '../.yolo_cache_x'"),
    "manifest: folder absolute": (lambda d: whole(d, folder="/tmp/.yolo_cache_x"), "the folder is"),
    "manifest: folder is a dot": (lambda d: whole(d, folder="."), "the folder is '.'"),
    "manifest: folder two dots": (lambda d: whole(d, folder=".."), "the folder is '..'"),
    "manifest: folder empty": (lambda d: whole(d, folder=""), "the folder is ''"),
    "manifest: folder backslash": (lambda d: whole(d, folder=".yolo_cache_..\\x"), "the folder is"),
    "manifest: folder with NUL": (lambda d: whole(d, folder=".yolo_cache_a\0b"), "the folder is"),
    "manifest: folder with newline": (lambda d: whole(d, folder=".yolo_cache_a\nerror: b"), "the folder is"),
    "manifest: folder with escape": (lambda d: whole(d, folder=".yolo_cache_\x1b[2Ja"), "\\x1b[2Ja"),
    "manifest: folder too long": (lambda d: whole(d, folder=".yolo_cache_" + "a" * 5000), "the folder is"),
    "manifest: another folder": (lambda d: whole(d, folder=".ssh"), "the folder is '.ssh'"),
    "manifest: folder of a build": (lambda d: whole(d, folder=NAME + ".partial"), "being built"),
    "manifest: member above": (lambda d: whole(d, members=[member(d, name="../data.mdb")]), "'../data.mdb'"),
    "manifest: member absolute": (lambda d: whole(d, members=[member(d, name="/etc/cron.d/x")]), "'/etc/cron.d/x'"),
    "manifest: control characters": (lambda d: whole(d, members=[member(d, name="\x1b]0;x\7")]), "\\x1b"),
    # Things that are no files
    "symbolic link": (lambda d: top(d) + entry(DATA_FILE, kind=tarfile.SYMTYPE, link="../x") + END, "a symbolic link"),
    "symbolic link, then through it": (
        lambda d: entry(NAME, kind=tarfile.SYMTYPE, link="..") + entry(f"{NAME}/outside.txt", d) + END,
        "a symbolic link",
    ),
    "hard link": (lambda d: top(d) + entry(DATA_FILE, kind=tarfile.LNKTYPE, link="precious.txt") + END, "a hard link"),
    "plain file with a link name": (lambda d: top(d) + entry(DATA_FILE, d, link="../x") + END, "another special entry"),
    "character device": (lambda d: top(d) + entry(DATA_FILE, kind=tarfile.CHRTYPE) + END, "a device"),
    "block device": (lambda d: top(d) + entry(DATA_FILE, kind=tarfile.BLKTYPE) + END, "a device"),
    "pipe": (lambda d: top(d) + entry(DATA_FILE, kind=tarfile.FIFOTYPE) + END, "a pipe"),
    "folder": (lambda d: top(d) + entry(NAME, kind=tarfile.DIRTYPE) + END, "a folder"),
    "sparse file": (lambda d: top(d) + entry(DATA_FILE, d, tarfile.GNUTYPE_SPARSE) + END, "special entry"),
    "contiguous file": (lambda d: top(d) + entry(DATA_FILE, d, tarfile.CONTTYPE) + END, "special entry"),
    "sparse file by PAX": (
        lambda d: top(d) + pax(DATA_FILE, **{"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999999"}) + d + END,
        "extended header",
    ),
    # Bombs
    "bomb, declared, gzip": (lambda d: gz(whole(BOMB)), "more than 200 times"),
    "bomb, declared, zstd": (lambda d: zst(whole(BOMB)), "more than 200 times"),
    "bomb, declared beyond any disk": (lambda d: whole(d, members=[member(d, bytes=1 << 59)]), "more than 200 times"),
    "bomb, not declared, gzip": (lambda d: gz(whole(d) + BOMB), "something follows"),
    "bomb, not declared, zstd": (lambda d: zst(whole(d) + BOMB), "something follows"),
    "bomb before the manifest": (lambda d: gz(BOMB + whole(d)), "not an archive"),
    "bomb in a manifest": (lambda d: gz(entry("manifest.json", BOMB) + END), "expected 1 to 1,048,576"),
    "bomb in a PAX header, gzip": (lambda d: gz(header_bomb(b"x")), "extended header"),
    "bomb in a PAX header, zstd": (lambda d: zst(header_bomb(b"x")), "extended header"),
    "bomb in a GNU name": (lambda d: gz(header_bomb(b"L")), "extended header"),
    "bomb in the second header": (lambda d: zst(top(d) + header_bomb(b"x")), "extended header"),
    "manifest nested too deeply": (lambda d: entry("manifest.json", b"[" * 900_000) + END, "the manifest"),
    "manifest with an endless number": (lambda d: entry("manifest.json", b"9" * 900_000) + END, "the manifest"),
    # What is there is not what was announced
    "member twice": (lambda d: top(d) + 2 * entry(DATA_FILE, d) + END, "something follows the last member"),
    "manifest twice": (lambda d: top(d) + whole(d), "holds 'manifest.json', expected data.mdb"),
    "member listed twice": (lambda d: whole(d, members=2 * [member(d)]), "a list of one member"),
    "wrong sha256": (lambda d: whole(d, members=[member(d, sha256="0" * 64)]), "sha256 differs"),
    "wrong size": (lambda d: whole(d, members=[member(d, bytes=len(d) - 1)]), "the manifest says"),
    "negative size in the header": (lambda d: top(d) + entry(DATA_FILE, size=-512) + d + END, "the manifest says"),
    "no members": (lambda d: top(d) + END, "no member data.mdb follows"),
    "another member": (lambda d: top(d) + entry("lock.mdb", d) + END, "holds 'lock.mdb', expected data.mdb"),
    "one member too many": (lambda d: top(d) + entry(DATA_FILE, d) + entry("x.py", b"1") + END, "something follows"),
    "member after the end": (lambda d: whole(d) + entry("x.py", b"1") + END, "something follows the last member"),
    "no manifest": (lambda d: entry(DATA_FILE, d) + END, "holds 'data.mdb', expected manifest.json"),
    "manifest last": (lambda d: entry(DATA_FILE, d) + top(d) + END, "expected manifest.json"),
    "something in the padding": (lambda d: top(d)[:-1] + b"x" + entry(DATA_FILE, d) + END, "hidden between"),
    "data of no cache": (lambda d: whole(b"x" * 9000), "holds no cache that can be used"),
    "data of a cache cut short": (lambda d: whole(d[: len(d) // 2]), "holds no cache that can be used"),
    # Damage
    "truncated in the manifest": (lambda d: whole(d)[:700], "truncated"),
    "truncated in a header": (lambda d: whole(d)[:1300], "truncated"),
    "truncated in the data": (lambda d: whole(d)[:-9000], "truncated"),
    "truncated before the end": (lambda d: whole(d)[:-1024], "truncated"),
    "truncated in the end": (lambda d: whole(d)[:-512], "truncated"),
    "gzip truncated in the data": (lambda d: gz(whole(d))[:-9000], "truncated"),
    "gzip truncated in its checksum": (lambda d: gz(whole(d))[:-3], "truncated"),
    "gzip, nothing but a start": (lambda d: gz(whole(d))[:12], "truncated"),
    "zstd truncated in the data": (lambda d: zst(whole(d))[:-9000], "truncated"),
    "zstd truncated in its checksum": (lambda d: zst(whole(d))[:-2], "truncated"),
    "flipped bit in a header": (lambda d: flipped(whole(d), 20), "not an archive"),
    "flipped bit in the second header": (lambda d: flipped(whole(d), 1030), "no member data.mdb follows"),
    "flipped bit in the manifest": (lambda d: flipped(whole(d), 512), "manifest"),
    "flipped bit in the data": (lambda d: flipped(whole(d), 9000), "sha256 differs"),
    "flipped bit in gzip": (lambda d: flipped(gz(whole(d)), 9000), ""),
    "flipped bit in gzip's checksum": (lambda d: flipped(gz(whole(d)), -6), "the gzip stream is damaged"),
    "flipped bit in zstd": (lambda d: flipped(zst(whole(d)), 9000), ""),
    "flipped bit in zstd's checksum": (lambda d: flipped(zst(whole(d)), -3), "the zstd stream is damaged"),
    "garbage after tar": (lambda d: whole(d) + b"x", "something follows"),
    "garbage after gzip": (lambda d: gz(whole(d)) + b"x", "something follows the end of the compressed"),
    "zeros after gzip": (lambda d: gz(whole(d)) + bytes(9), "something follows the end of the compressed"),
    "a second gzip stream": (lambda d: gz(whole(d)) + gz(b"more"), "something follows the end of the compressed"),
    "garbage after zstd": (lambda d: zst(whole(d)) + b"x", "something follows the end of the compressed"),
    "a second zstd stream": (lambda d: zst(whole(d)) + zst(b"more"), "something follows the end of the compressed"),
    "endless zeros after the end": (lambda d: whole(d) + bytes(20_000), "something follows"),
    # Other things
    "zip": (zipped, "not an archive"),
    "text": (lambda d: b"This is no archive at all.\n" * 100, "not an archive"),
    "empty": (lambda d: b"", "truncated"),
    "only zeros": (lambda d: bytes(10_240), "not an archive"),
    "gzip of nothing": (lambda d: gz(b""), "truncated"),
    "the data file itself": (lambda d: d, "not an archive"),
    # Manifests
    "manifest not JSON": (lambda d: entry("manifest.json", b"\x80{") + END, "not JSON"),
    "manifest a list": (lambda d: entry("manifest.json", b"[1]") + END, "expected the format"),
    "manifest empty": (lambda d: entry("manifest.json") + END, "expected 1 to"),
    "manifest of another format": (lambda d: whole(d, format="x"), "expected the format"),
    "manifest of another version": (lambda d: whole(d, version=2), "version 2, this program reads 1"),
    "manifest with version true": (lambda d: whole(d, version=True), "version True"),
    "manifest with other keys": (lambda d: whole(d, run="rm -rf"), "has the keys"),
    "manifest: a billion members": (lambda d: whole(d, members=1_000_000_000), "a list of one member"),
    "manifest: thousands of members": (lambda d: whole(d, members=5000 * [member(d)]), "a list of one member"),
    "manifest: members a mapping": (lambda d: whole(d, members={"0": member(d)}), "a list of one member"),
    "manifest: member a word": (lambda d: whole(d, members=["data.mdb"]), "a member has other keys"),
    "manifest: folder a number": (lambda d: whole(d, folder=7), "expected text"),
    "manifest: bytes a word": (lambda d: whole(d, members=[member(d, bytes="9")]), "has '9' bytes"),
    "manifest: bytes below zero": (lambda d: whole(d, members=[member(d, bytes=-1)]), "has -1 bytes"),
    "manifest: bytes endless": (lambda d: whole(d, members=[member(d, bytes=float("inf"))]), "has inf bytes"),
    "manifest: bytes true": (lambda d: whole(d, members=[member(d, bytes=True)]), "has True bytes"),
    "manifest: sha256 a list": (lambda d: whole(d, members=[member(d, sha256=[])]), "sha256 []"),
    "manifest: sha256 too short": (lambda d: whole(d, members=[member(d, sha256="ab")]), "sha256 'ab'"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (make_cache(tmp_path_factory.mktemp("cache") / NAME) / DATA_FILE).read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder with things in and around it that nobody may touch."""
    folder = tmp_path / "parent" / "target"
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("precious")
    (folder / "link").symlink_to("..")
    (folder.parent / "outside.txt").write_text("outside")
    return folder


def tree(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (state.st_mode, state.st_nlink, content)
    return found


def archive_of(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "archive.tar"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused(name: str, data: bytes, target: Path, tmp_path: Path) -> None:
    make, sentence = HOSTILE[name]
    archive = archive_of(make(data), tmp_path)
    before = tree(target.parent)
    tracemalloc.start()
    try:
        done = run_yolo("cache-import", "--archive", archive, "--output", target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_user_error(done, str(archive), sentence)
    assert "imported:" not in done.stdout
    assert len(done.stderr) < 600
    assert done.stderr.rstrip("\n").isprintable()
    assert tree(target.parent) == before
    assert peak < 110 << 20


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("squeeze", [bytes, gz, zst])
def test_what_the_hostile_ones_are_made_from_is_taken(
    squeeze: Callable[[bytes], bytes], data: bytes, target: Path, tmp_path: Path
) -> None:
    before = tree(target.parent)
    done = run_yolo("cache-import", "--archive", archive_of(squeeze(whole(data)), tmp_path), "-o", target)
    assert done.returncode == 0, done.stderr
    assert (target / NAME / DATA_FILE).read_bytes() == data
    assert read_header(target / NAME)
    added = {path for path in tree(target.parent) if path not in before}
    assert added == {str(target / NAME), str(target / NAME / DATA_FILE)}


@pytest.mark.parametrize("squeeze", [gz, zst])
def test_truncations_and_flipped_bits(
    squeeze: Callable[[bytes], bytes], data: bytes, target: Path, tmp_path: Path
) -> None:
    good = squeeze(whole(data))
    before = tree(target.parent)
    for i in range(0, len(good), len(good) // 40):
        with pytest.raises(UserError):
            unpack.import_archive(archive_of(good[:i], tmp_path), target)
    refused = 0
    for i in range(0, len(good), len(good) // 150):
        try:
            unpack.import_archive(archive_of(flipped(good, i), tmp_path), target)
        except UserError:
            refused += 1
        else:  # a bit that means nothing to the decompressor
            assert (target / NAME / DATA_FILE).read_bytes() == data
            shutil.rmtree(target / NAME)
    assert refused > 140
    assert tree(target.parent) == before


def test_what_is_there_stays(data: bytes, target: Path, tmp_path: Path) -> None:
    archive = archive_of(whole(data), tmp_path)
    old = make_cache(target / NAME, seed=1)
    before = tree(target.parent)
    done = run_yolo("cache-import", "--archive", archive, "-o", target)
    assert_user_error(done, f"{old}: exists already", "--force")
    assert tree(target.parent) == before
    assert run_yolo("cache-import", "--archive", archive, "-o", target, "--force").returncode == 0
    assert (old / DATA_FILE).read_bytes() == data
    assert [p.name for p in target.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("kind", ["file", "folder of something else", "link to a cache", "broken link"])
def test_force_replaces_caches_and_nothing_else(kind: str, data: bytes, target: Path, tmp_path: Path) -> None:
    place = target / NAME
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder of something else":
        make_cache(place)
        (place / "notes.txt").write_text("mine")
    elif kind == "link to a cache":
        place.symlink_to(make_cache(target.parent / "elsewhere"))
    else:
        place.symlink_to("nowhere")
    before = tree(target.parent)
    done = run_yolo("cache-import", "--archive", archive_of(whole(data), tmp_path), "-o", target, "--force")
    assert_user_error(done, str(place), "not just a cache")
    assert tree(target.parent) == before


def test_a_link_in_the_place_of_the_partial_folder_is_not_followed(data: bytes, target: Path, tmp_path: Path) -> None:
    (target / f"{NAME}.import.partial").symlink_to("..")
    before = tree(target.parent)
    assert_user_error(
        run_yolo("cache-import", "--archive", archive_of(whole(data), tmp_path), "-o", target), "in the way"
    )
    assert tree(target.parent) == before


def test_a_link_inside_the_partial_folder_is_not_followed(data: bytes, target: Path, tmp_path: Path) -> None:
    partial = target / f"{NAME}.import.partial"
    partial.mkdir()
    (partial / DATA_FILE).symlink_to(target / "precious.txt")
    assert run_yolo("cache-import", "--archive", archive_of(whole(data), tmp_path), "-o", target).returncode == 2
    assert (target / "precious.txt").read_text() == "precious"


def test_missing_folders_are_made_and_taken_away(data: bytes, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    bad = archive_of(flipped(whole(data), 9000), tmp_path)
    assert_user_error(run_yolo("cache-import", "--archive", bad, "-o", deep), "sha256")
    assert not (tmp_path / "a").exists()
    assert run_yolo("cache-import", "--archive", archive_of(whole(data), tmp_path), "-o", deep).returncode == 0
    assert read_header(deep / NAME)


def test_more_than_is_free(data: bytes, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: type("", (), {"free": 1000})())
    before = tree(target.parent)
    with pytest.raises(UserError, match="only 0 MiB are free"):
        unpack.import_archive(archive_of(whole(data), tmp_path), target)
    assert tree(target.parent) == before


def test_output_is_a_file_and_archive_is_missing(data: bytes, target: Path, tmp_path: Path) -> None:
    archive = archive_of(whole(data), tmp_path)
    assert_user_error(run_yolo("cache-import", "--archive", archive, "-o", target / "precious.txt"), "is a file")
    assert_user_error(run_yolo("cache-import", "--archive", tmp_path / "no.tar"), "no such archive")
    os.mkfifo(tmp_path / "pipe")
    assert_user_error(run_yolo("cache-import", "--archive", tmp_path / "pipe"), "no such archive")


STUCK = """
import sys, time
from yolo.data.cache.archive_reader import ArchiveReader
ArchiveReader.finish = lambda self: (print("written", flush=True), time.sleep(100))
from yolo.cli import main
main(sys.argv[1:])
"""


def _heed_ctrl_c() -> None:
    """Shells let programs in the background ignore Ctrl-C, and those inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def stuck(data: bytes, target: Path, tmp_path: Path) -> Any:
    """An import that has written everything and has not checked the end yet."""
    archive = archive_of(whole(data), tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, "cache-import", "--archive", archive, "-o", target],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=_heed_ctrl_c,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "written\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_kill_leaves_nothing_that_passes_for_a_cache(
    stuck: subprocess.Popen[str], target: Path, tmp_path: Path, data: bytes
) -> None:
    archive = tmp_path / "archive.tar"
    partial = target / f"{NAME}.import.partial"
    assert_user_error(run_yolo("cache-import", "--archive", archive, "-o", target), "another import is writing")
    assert partial.is_dir()
    stuck.kill()
    stuck.wait()
    assert not (target / NAME).exists()
    (partial / "rest").write_text("of something")
    time.sleep(0.05)
    assert run_yolo("cache-import", "--archive", archive, "-o", target).returncode == 0
    assert not partial.exists()
    assert [p.name for p in (target / NAME).iterdir()] == [DATA_FILE]
    assert (target / NAME / DATA_FILE).read_bytes() == data


def test_interruption_leaves_nothing(stuck: subprocess.Popen[str], target: Path) -> None:
    stuck.send_signal(signal.SIGINT)
    assert stuck.wait(30) == 130
    assert {path.name for path in target.iterdir()} == {"precious.txt", "link"}
