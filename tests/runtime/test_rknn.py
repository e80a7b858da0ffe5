from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.records import record
from yolo import environments
from yolo.errors import UserError
from yolo.runtime.rknn import open_network, read_record, simulation_of, write_simulation


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with its archive, which no toolkit has seen."""
    path = tmp_path / "a.rknn"
    path.write_bytes(b"RKNN")
    (tmp_path / "settings.json").write_text("{}")
    write_simulation(path, record(form="raw", quantization="int8"), tmp_path, ["settings.json"])
    (tmp_path / "settings.json").unlink()
    return path


def test_what_the_file_says(path: Path) -> None:
    assert read_record(path) == record(form="raw", quantization="int8")
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["a.rknn", "a.rknn.simulation"]


def test_a_file_that_was_changed(path: Path) -> None:
    path.write_bytes(b"RKNX")
    with pytest.raises(UserError, match=r"a\.rknn: a\.rknn\.simulation beside it belongs to another file"):
        read_record(path)


def test_a_missing_file_and_a_missing_archive(path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.rknn: no such file"):
        read_record(path.with_name("b.rknn"))
    simulation_of(path).unlink()
    with pytest.raises(UserError, match=r"a\.rknn: a\.rknn\.simulation must lie beside it"):
        read_record(path)


@pytest.mark.parametrize(
    "contents",
    [None, "{", [], {}, {"record": 1, "rknn_sha256": "", "files": []},
     {"record": record().to_json(), "rknn_sha256": "", "files": ["none"]}, {"record": record().to_json(), "files": []}],
)  # fmt: skip
def test_an_archive_of_somebody_else(contents: Any, path: Path) -> None:
    archive = simulation_of(path)
    if contents is None:
        archive.write_bytes(b"no archive")
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("contents.json", contents if isinstance(contents, str) else json.dumps(contents))
    with pytest.raises(UserError, match=r"a\.rknn\.simulation"):
        read_record(path)


def test_files_of_an_archive_stay_in_their_folder(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(simulation_of(path), "a") as packed:
        packed.writestr("../../escaped", "x")
        contents = json.loads(packed.read("contents.json")) | {"files": ["../../escaped"]}
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("contents.json", json.dumps(contents))
    read_record(path)
    assert not list(tmp_path.parent.rglob("escaped"))


def test_without_the_toolkit(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "find_spec", lambda name: None)
    monkeypatch.delenv("YOLO_RKNN_PYTHON", raising=False)
    with pytest.raises(UserError, match=r"RKNN needs rknn in an environment .* bash scripts/setup_rknn_export.sh"):
        open_network(path)


def test_an_archive_of_damaged_bytes(path: Path) -> None:
    archive = simulation_of(path)
    content = archive.read_bytes()
    for place in range(len(content)):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with contextlib.suppress(UserError):  # some bytes say nothing
            read_record(path)
