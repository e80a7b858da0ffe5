from __future__ import annotations

from pathlib import Path

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.small_cache import NAME, make_cache
from yolo.data.cache.header import DATA_FILE


def test_into_the_current_folder(tmp_path: Path) -> None:
    make_cache(tmp_path / "a" / NAME)
    (tmp_path / "b").mkdir()
    assert run_yolo("cache-export", "--cache-dir", f"a/{NAME}", "-o", "b/x.tar.zst", cwd=tmp_path).returncode == 0
    done = run_yolo("cache-import", "--archive", "x.tar.zst", cwd=tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert f"imported: {NAME}" in done.stdout
    assert (tmp_path / "b" / NAME / DATA_FILE).is_file()


def test_bad_input(tmp_path: Path) -> None:
    assert_user_error(run_yolo("cache-import"), "--archive")
    assert_user_error(
        run_yolo("cache-import", "--archive", tmp_path / "x.tar"), f"{tmp_path / 'x.tar'}: no such archive"
    )
    (tmp_path / "x.tar").write_text("no archive")
    assert_user_error(run_yolo("cache-import", "--archive", tmp_path / "x.tar", "-o", tmp_path), "truncated")
