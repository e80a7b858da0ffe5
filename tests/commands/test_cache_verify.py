from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.secret_dataset import write_secret_dataset
from tests.data.cache.small_cache import make_cache
from yolo.data.keys import EncryptionKey


@pytest.mark.slow
def test_intact_and_damaged(tmp_path: Path) -> None:
    write_secret_dataset(tmp_path / "data")
    folder = tmp_path / ".yolo_cache_orig_f1.0"
    given = ["--data.format=yolo", f"--data.root={tmp_path / 'data'}", f"--output-dir={tmp_path}", "--no-resize"]
    assert run_yolo("cache-create", *given, "--cache-format=raw").returncode == 0
    done = run_yolo("cache-verify", "--cache-dir", folder)
    assert done.returncode == 0, done.stderr
    assert "Checked:      17" in done.stdout
    assert "Encrypted:    No" in done.stdout
    assert done.stdout.endswith("\nintact\n")
    content = bytearray((folder / "data.mdb").read_bytes())
    from yolo.data.loaders import DefaultImageLoader

    row = DefaultImageLoader()(tmp_path / "data/images/val/patient-val-004.png")[7].tobytes()
    content[content.index(row)] ^= 1
    (folder / "data.mdb").write_bytes(content)
    done = run_yolo("cache-verify", "--cache-dir", folder)
    assert done.returncode == 1
    assert "Damages:      1" in done.stdout
    assert "images/val/patient-val-004.png is damaged in the cache" in done.stdout
    assert done.stdout.endswith("\ndamaged\n")


def test_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = EncryptionKey(bytes(32))
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", key.secret.hex())
    assert "Encrypted:    Yes" in run_yolo("cache-verify", "--cache-dir", make_cache(tmp_path / "c", key=key)).stdout


def test_nothing_there(tmp_path: Path) -> None:
    assert_user_error(run_yolo("cache-verify", "--cache-dir", tmp_path), "there is no cache")
