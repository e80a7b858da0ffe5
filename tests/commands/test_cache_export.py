from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.small_cache import NAME, make_cache
from yolo.commands.cache_export import CacheExportOptions, choose_output
from yolo.data.cache.header import DATA_FILE
from yolo.data.keys import VARIABLE, EncryptionKey


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ([], "yolo_cache_64x64_f1.0.tar.gz"),
        (["--compression=zstd"], "yolo_cache_64x64_f1.0.tar.zst"),
        (["--compression=none"], "yolo_cache_64x64_f1.0.tar"),
        (["--output=a.tar.zst"], "a.tar.zst"),
        (["-o", "a.tgz"], "a.tgz"),
        (["-o", "a.tar", "--compression", "none"], "a.tar"),
        (["-o", "a.bin"], "a.bin"),
    ],
)
def test_there_and_back(arguments: list[str], output: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "dataset" / NAME)
    done = run_yolo("cache-export", "--cache-dir", cache, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"written: {output} (" in done.stdout
    assert "MiB in" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", output}
    done = run_yolo("cache-import", "--archive", tmp_path / output, "--output", tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsewhere" / NAME / DATA_FILE).read_bytes() == (cache / DATA_FILE).read_bytes()


def test_the_same_cache_gives_the_same_archive(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / NAME)
    for name in ("a.tar.gz", "b.tar.gz", "a.tar.zst", "b.tar.zst"):
        assert run_yolo("cache-export", "--cache-dir", cache, "-o", tmp_path / name).returncode == 0
    for ending in ("tar.gz", "tar.zst"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_an_encrypted_cache_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    cache = make_cache(tmp_path / NAME, key=EncryptionKey(bytes(32)))
    assert run_yolo("cache-export", "--cache-dir", cache, "-o", tmp_path / "a.tar").returncode == 0
    assert run_yolo("cache-import", "--archive", tmp_path / "a.tar", "-o", tmp_path / "x").returncode == 0


def test_an_archive_that_is_there_stays(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / NAME)
    output = tmp_path / "a.tar.gz"
    output.write_text("mine")
    assert_user_error(
        run_yolo("cache-export", "--cache-dir", cache, "-o", output), f"{output}: exists already", "--force"
    )
    assert output.read_text() == "mine"
    assert run_yolo("cache-export", "--cache-dir", cache, "-o", output, "--force").returncode == 0
    assert output.read_bytes()[:2] == b"\x1f\x8b"


def test_what_is_no_complete_cache(tmp_path: Path) -> None:
    output = tmp_path / "a.tar.gz"
    (tmp_path / "empty").mkdir()
    assert_user_error(run_yolo("cache-export", "--cache-dir", tmp_path / "empty", "-o", output), "no cache")
    assert_user_error(run_yolo("cache-export", "--cache-dir", tmp_path / "missing", "-o", output), "no cache")
    building = make_cache(tmp_path / f"{NAME}.partial")
    assert_user_error(run_yolo("cache-export", "--cache-dir", building, "-o", output), "being built")
    cache = make_cache(tmp_path / NAME)
    with (cache / DATA_FILE).open("r+b") as file:
        file.truncate((cache / DATA_FILE).stat().st_size - 4096)
    assert_user_error(run_yolo("cache-export", "--cache-dir", cache, "-o", output), "truncated")
    assert not output.exists()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / NAME)
    run = ["cache-export", "--cache-dir", str(cache), "-o"]
    assert_user_error(run_yolo(*run, tmp_path / "no" / "a.tar"), f"{tmp_path / 'no'}: no such folder")
    assert_user_error(run_yolo(*run, tmp_path, "--force"), "is a folder")
    assert_user_error(run_yolo(*run, tmp_path / "a.tar.gz", "--compression=none"), "means gzip", "ending in .tar")


def test_the_name_does_not_depend_on_how_the_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cache(tmp_path / NAME)
    monkeypatch.chdir(tmp_path / NAME)
    assert choose_output(CacheExportOptions(Path())) == (Path("yolo_cache_64x64_f1.0.tar.gz"), "gzip")
