from __future__ import annotations

from pathlib import Path

import pytest

from yolo.errors import UserError
from yolo.shipped_configs import config_folder, find_config, resolve_configs


def test_found_by_name() -> None:
    assert find_config("quickstart") == config_folder() / "quickstart.yaml"


def test_a_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text("{}")
    assert find_config("quickstart") == Path("quickstart")


def test_unknown_name_lists_what_ships() -> None:
    with pytest.raises(UserError, match=r"no config file 'nope'.*confidential, default, documents, quickstart"):
        find_config("nope")


def test_resolve_in_every_spelling() -> None:
    path = str(find_config("default"))
    assert resolve_configs(["--config", "default", "--a=1"]) == ["--config", path, "--a=1"]
    assert resolve_configs(["--config=default", "-c", "default"]) == [f"--config={path}", "-c", path]
    assert resolve_configs(["--config"]) == ["--config"]
