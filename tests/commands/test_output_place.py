from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_dataset import write_dataset
from yolo.commands.output_place import require_file, require_place
from yolo.data.options import DataOptions
from yolo.errors import UserError


def test_new_folders_are_not_made_yet(tmp_path: Path) -> None:
    require_place(tmp_path / "a" / "b", ["x.json"])
    require_place(tmp_path, ["x.json"])
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "b.ckpt"
    file.write_text("")
    with pytest.raises(UserError, match=r"--output is .*b.ckpt/x, but .*b.ckpt is a file"):
        require_place(file / "x", [])
    with pytest.raises(UserError, match=r"--output is .*b.ckpt, which is a file, expected a folder"):
        require_place(file, [])
    (tmp_path / "x.json").mkdir()
    with pytest.raises(UserError, match=r"x.json written, which is a folder"):
        require_place(tmp_path, ["x.json"])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has it")
def test_where_even_root_cannot_write() -> None:
    with pytest.raises(UserError, match=r"--output is /proc/nope, but nothing can be written in /proc"):
        require_place(Path("/proc/nope"), [])


def test_inputs_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "x.json").write_text("")
    (tmp_path / "link").symlink_to("own")
    monkeypatch.chdir(tmp_path)
    for given in (Path("own/x.json"), tmp_path / "link" / "x.json"):
        for folder in (Path("own"), tmp_path / "own", Path("link")):
            with pytest.raises(UserError, match=r"--output would have .*x.json overwritten, which is an input"):
                require_place(folder, ["x.json"], [given])
    require_place(Path("own"), ["y.json"], [Path("own/x.json")])


def test_nor_a_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set")
    (tmp_path / "apart").mkdir()
    data = DataOptions(format="coco", root=str(tmp_path / "set"), val_ann=str(tmp_path / "apart" / "metrics.json"))
    with pytest.raises(UserError, match="--output lies in the dataset folder"):
        require_place(tmp_path / "set" / "new", [], data=data)
    with pytest.raises(UserError, match=r"metrics.json overwritten"):
        require_place(tmp_path / "apart", ["metrics.json"], data=data)
    require_place(tmp_path / "apart", ["report.html"], data=data)


def test_file(tmp_path: Path) -> None:
    require_file(None, "--json")
    require_file(tmp_path / "a.json", "--json")
    with pytest.raises(UserError, match=r"--json is .*but there is no folder"):
        require_file(tmp_path / "no" / "a.json", "--json")
    with pytest.raises(UserError, match=r"--json is .*which is a folder"):
        require_file(tmp_path, "--json")
    with pytest.raises(UserError, match=r"--json would have .*a.json overwritten"):
        require_file(tmp_path / "a.json", "--json", [tmp_path / "a.json"])
    assert not list(tmp_path.iterdir())
