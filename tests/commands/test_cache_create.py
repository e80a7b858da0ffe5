from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.cache.secret_dataset import write_secret_dataset
from yolo.commands.cache_create import CacheCreateOptions, data_options
from yolo.data.cache.store import open_cache
from yolo.data.options import DataOptions


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    write_secret_dataset(tmp_path / "data")
    return ["--data.format=yolo", f"--data.root={tmp_path / 'data'}", f"--output-dir={tmp_path}", "--size=64"]


def test_a_cache_is_built_once_unless_forced(given: list[str], tmp_path: Path) -> None:
    folder = tmp_path / ".yolo_cache_64x64_f1.0"
    done = run_yolo("cache-create", *given)
    assert done.returncode == 0, done.stderr
    assert "17 images" in done.stdout
    assert done.stdout.endswith(f"{folder} is complete\n")
    assert run_yolo("cache-create", *given).stdout == f"{folder} is up to date\n"
    other = run_yolo("cache-create", *given, "--jpeg-quality=50").stdout
    assert other == f"its JPEG quality stays 95, not 50: --force builds it anew\n{folder} is up to date\n"
    assert run_yolo("cache-create", *given, "--force").stdout.endswith(" is complete\n")


def test_one_split_in_original_size(given: list[str], tmp_path: Path) -> None:
    done = run_yolo("cache-create", *given, "--split=val", "--no-resize", "--cache-format=raw", "--sync", "--workers=1")
    assert done.returncode == 0, done.stderr
    spec = open_cache(tmp_path / ".yolo_cache_orig_f1.0", None).spec
    assert (list(spec.splits), spec.size, spec.cache_format) == (["val"], None, "raw")


def test_size_and_data_come_from_the_config(given: list[str], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model:\n  image_size: [64, 96]\ndata:\n  format: yolo\n  root: {tmp_path / 'data'}\n  cache_format: raw\n"
        f"  data_fraction: 0.5\n  cache_dir: {tmp_path / 'here'}\n"
    )
    done = run_yolo("cache-create", "--config", config)
    assert done.returncode == 0, done.stderr
    assert open_cache(tmp_path / "here" / ".yolo_cache_96x64_f0.5", None).spec.cache_format == "raw"


def test_what_is_not_given_stays() -> None:
    config = DataOptions(
        cache_encrypt=True, cache_format="raw", cache_only=True, cache_dir="a", cache_resize_images=False
    )
    merged = data_options(CacheCreateOptions(), config)
    assert (merged.cache_encrypt, merged.cache_format, merged.cache_dir) == (True, "raw", "a")
    assert (merged.cache_only, merged.cache_resize_images) == (False, False)


def test_the_command_line_goes_before_the_config(given: list[str], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data:\n  cache_encrypt: true\n  cache_resize_images: false\n  cache_sync: true\n")
    done = run_yolo("cache-create", "--config", config, *given, "--no-encrypt", "--resize", "--no-sync")
    assert done.returncode == 0, done.stderr
    cache = open_cache(tmp_path / ".yolo_cache_64x64_f1.0", None)
    assert (cache.header.encrypted, cache.spec.size) == (False, (64, 64))


def test_wrong_input(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_ENCRYPTION_KEY", raising=False)
    assert_user_error(run_yolo("cache-create", *given, "--encrypt"), "there is no key")
    assert_user_error(run_yolo("cache-create", *given, "--jpeg-quality=0"), "--jpeg-quality is 0")
    assert_user_error(run_yolo("cache-create", "--data.format=yolo", "--data.root=/no/such"), "/no/such")
