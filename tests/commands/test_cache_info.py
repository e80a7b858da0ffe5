from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.secret_dataset import KEY, write_secret_dataset

NAME = ".yolo_cache_96x64_f1.0"


@pytest.fixture
def encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encrypted cache; its key is in the environment."""
    write_secret_dataset(tmp_path / "data")
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", KEY)
    given = ["--data.format=yolo", f"--data.root={tmp_path / 'data'}", f"--output-dir={tmp_path}", "--size", "64", "96"]
    done = run_yolo("cache-create", *given, "--encrypt", "--jpeg-quality=80")
    assert done.returncode == 0, done.stderr
    return tmp_path / NAME


def test_with_the_key(encrypted: Path) -> None:
    out = run_yolo("cache-info", "--cache-dir", encrypted).stdout
    rows = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    shown = {name.strip(): value.strip() for name, value in rows.items()}
    assert out.startswith("Cache Information\n────")
    assert shown.pop("Bytes").replace(",", "").isdigit()
    assert shown == {
        "Path": str(encrypted), "Version": "1", "Format": "yolo", "Images": "17", "Size": "96x64", "Fraction": "1",
        "Cache Format": "jpeg (quality: 80)", "Encrypted": "Yes", "Classes": "2", "Labels": "48", "Train": "12 images",
        "Val": "5 images",
    }  # fmt: skip
    facts = json.loads(run_yolo("cache-info", "--cache-dir", encrypted, "--json").stdout)
    assert facts["classes"] == ["quetzalcoatlus", "xylophonist"]
    assert facts["splits"] == {"train": 12, "val": 5}


def test_without_the_key(encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_ENCRYPTION_KEY")
    out = run_yolo("cache-info", "--cache-dir", encrypted).stdout
    assert "Encrypted:    Yes" in out
    assert "images, size, labels, classes and splits cannot be read: set YOLO_ENCRYPTION_KEY" in out
    assert json.loads(run_yolo("cache-info", "--cache-dir", encrypted, "--json").stdout)["readable"] is False


def test_with_another_key_and_elsewhere(encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", "ff" * 32)
    assert_user_error(run_yolo("cache-info", "--cache-dir", encrypted), "wrong key")
    assert_user_error(run_yolo("cache-info", "--cache-dir", encrypted.parent), "there is no cache")
