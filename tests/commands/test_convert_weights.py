from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.conftest import assert_user_error, run_yolo
from tests.models.weights.official import official, save_official
from yolo.models.checkpoint import NetworkSpec
from yolo.models.weights.load import load_network


@pytest.mark.slow
@pytest.mark.parametrize("dual", [False, True])
def test_writes_what_weight_path_reads(dual: bool, tmp_path: Path) -> None:
    theirs = save_official(official("v9-t", 7, dual=dual, class_width=72).half(), tmp_path / "theirs.pt")
    done = run_yolo("convert-weights", "theirs.pt", "-o", "out/ours.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layout = "dual" if dual else "gelan"
    assert f"weights: theirs.pt (v9-t, naming {layout}, with" in done.stdout
    assert "7 classes, class width 72" in done.stdout
    assert "written: out/ours.safetensors" in done.stdout
    written = tmp_path / "out" / "ours.safetensors"
    with safe_open(written, "pt") as file:
        assert file.metadata() == {
            "format": "pt", "architecture": "v9-t", "layout": layout, "classes": "7", "class_width": "72"
        }  # fmt: skip
    _, expected, direct = load_network(NetworkSpec("v9-t"), 7, theirs)
    spec, found, report = load_network(NetworkSpec("v9-t"), 7, written)
    assert spec.class_width == 72
    assert set(report.loaded) == set(direct.loaded)
    values = found.state_dict()
    assert all(torch.equal(values[n], t) for n, t in expected.state_dict().items() if n in direct.loaded)


@pytest.mark.slow
def test_the_name_of_the_network_may_be_given_and_must_be_right(tmp_path: Path) -> None:
    save_official(official("v9-t"), tmp_path / "t.pt")
    done = run_yolo("convert-weights", "t.pt", "--output", "t.safetensors", "--model", "v9-t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "t.safetensors").unlink()
    for arguments, sentence in (
        (["t.pt", "-o", "t.safetensors", "--model", "v9-s"], "holds weights of v9-t"),
        (["t.pt", "-o", "t.safetensors", "--model", "v9-x"], "--model is 'v9-x', expected one of v9-t"),
        (["t.pt", "-o", "t.pt"], "t.pt: expected a name that ends in .safetensors"),
        (["t.pt"], "required: -o/--output"),
        (["none.pt", "-o", "t.safetensors"], "none.pt: no such file of weights"),
    ):
        assert_user_error(run_yolo("convert-weights", *arguments, cwd=tmp_path), sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["t.pt"]


def test_without_class_branch_there_is_nothing_to_convert(tmp_path: Path) -> None:
    tensors = {name: t for name, t in official("v9-t").state_dict().items() if not name.startswith("model.22.cv3")}
    torch.save(tensors, tmp_path / "t.pt")
    assert_user_error(run_yolo("convert-weights", "t.pt", "-o", "t.safetensors", cwd=tmp_path), "no class branch")
