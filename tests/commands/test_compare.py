from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands.test_validate import printed
from tests.conftest import TINY_FIT, assert_user_error, run_yolo
from yolo.models.checkpoint import CARD_KEY


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network that is quick."""
    folder = tmp_path_factory.mktemp("compared")
    done = run_yolo(*TINY_FIT, "--model.model_config=tests.models.test_checkpoint.TinyNetwork", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs/quickstart/version_0/checkpoints/best.ckpt"


def change(checkpoint: Path, target: Path, **sections: dict[str, Any]) -> Path:
    """A copy of a checkpoint with other options in its card."""
    contents = torch.load(checkpoint, weights_only=True)
    for section, values in sections.items():
        contents[CARD_KEY]["config"][section].update(values)
    torch.save(contents, target)
    return target


@pytest.fixture
def other(trained: Path, tmp_path: Path) -> Path:
    """The same network with other weights."""
    contents = torch.load(trained, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for tensor in contents["state_dict"].values():
        if tensor.dtype.is_floating_point and tensor.ndim == 4:
            tensor.mul_(1 + 0.5 * torch.randn(tensor.shape, generator=generator))
    torch.save(contents, tmp_path / "other.ckpt")
    return tmp_path / "other.ckpt"


@pytest.mark.slow
def test_compares(trained: Path, other: Path, tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    arguments = [trained, other, "--samples=200", "--seed=3", "--confidence=0.9", "--json", file]
    done = run_yolo("compare", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "other.ckpt"]
    written = json.loads(file.read_text())
    assert written["verdict"] in done.stdout
    assert "90% interval" in done.stdout
    assert (written["images"], written["samples"], written["seed"], written["confidence"]) == (9, 200, 3, 0.9)
    assert {name: own["checkpoint"] for name, own in written["checkpoints"].items()} == {
        "a": str(trained),
        "b": str(other),
    }
    assert written["checkpoints"]["a"]["tile"] is None
    assert "note: intervals from 9 images are too narrow" in done.stdout
    entry = written["metrics"][0]
    measured = {
        path: printed(run_yolo("validate", "--checkpoint", path, cwd=other.parent).stdout)["AP50-95"]
        for path in (trained, other)
    }
    assert entry["a"] == pytest.approx(measured[trained], abs=1e-6)
    assert entry["b"] == pytest.approx(measured[other], abs=1e-6)
    assert entry["difference"] == pytest.approx(entry["b"] - entry["a"])


@pytest.mark.slow
def test_settings_of_a_hold_for_both(trained: Path, tmp_path: Path) -> None:
    b = change(trained, tmp_path / "b.ckpt", model={"nms_iou_threshold": 0.01}, data={"shapes_val": 3})
    done = run_yolo("compare", trained, b, "--samples=100")
    assert done.returncode == 0, done.stderr
    assert "no difference shown at 95%: B - A is +0.000 AP [+0.000, +0.000]" in done.stdout
    given = run_yolo("compare", trained, b, "--samples=100", "--iou=0.4", "--data.shapes_val=5")
    assert "5 images" in given.stdout
    assert "tile" not in given.stdout
    file = tmp_path / "tiled.json"
    tiled = run_yolo("compare", trained, b, "--samples=100", "--tile=64", "--overlap=0.1", "--json", file)
    assert "tile 64, overlap 0.1" in tiled.stdout
    assert json.loads(file.read_text())["checkpoints"]["b"]["tile"] == {"size": 64, "overlap": 0.1}
    assert "iou 0.4" in given.stdout


def test_another_letterbox_is_each_ones_own(trained: Path, tmp_path: Path) -> None:
    contents = torch.load(trained, weights_only=True)
    contents[CARD_KEY]["letterbox"] = contents[CARD_KEY]["config"]["data"]["letterbox"] = "corner"
    torch.save(contents, tmp_path / "corner.ckpt")
    done = run_yolo("compare", trained, tmp_path / "corner.ckpt", "--samples=100")
    assert done.returncode == 0, done.stderr


def test_other_classes_are_refused(trained: Path, tmp_path: Path) -> None:
    contents = torch.load(trained, weights_only=True)
    names = contents[CARD_KEY]["dataset_names"]
    contents[CARD_KEY]["dataset_names"] = ["lorry", *names[1:]]
    torch.save(contents, tmp_path / "lorry.ckpt")
    done = run_yolo("compare", trained, tmp_path / "lorry.ckpt")
    assert_user_error(
        done, "lorry.ckpt: has other classes", f"(lorry, {names[1]}", f"instead of {len(names)} ({names[0]}"
    )


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["a, b"]),
        (["{best}", "none.ckpt"], ["none.ckpt", "no such checkpoint file"]),
        (["{best}", "{best}", "--samples=5"], ["--samples is 5", "between 100 and 100000"]),
        (["{best}", "{best}", "--confidence=95"], ["--confidence is 95"]),
        (["{best}", "{best}", "--json=no/such/file.json"], ["--json is no/such/file.json", "no folder no/such"]),
        (["{best}", "{best}", "--json=."], ["--json is ., which is a folder"]),
        (["{best}", "{best}", "--json={best}"], ["--json would have", "best.ckpt overwritten"]),
        (["{best}", "{best}", "--overlap=0.3"], ["--overlap 0.3 is that of the windows of --tile"]),
        (["{best}", "{best}", "--g=file.json"], ["--g=file.json"]),
        (["{best}", "{best}", "--device=warp"], ["--device is 'warp'"]),
        (["{best}", "{best}", "--data.root=/no/such", "--data.format=coco"], ["/no/such"]),
    ],
)
def test_wrong_input(trained: Path, arguments: list[str], fragments: list[str]) -> None:
    assert_user_error(run_yolo("compare", *(a.format(best=trained) for a in arguments)), *fragments)


@pytest.mark.slow
def test_detections_in_files(tmp_path: Path, test_data: Path) -> None:
    folder = test_data / "known_answers" / "coco128"
    found = json.loads((folder / "detections.json").read_text())
    (tmp_path / "fewer.json").write_text(json.dumps(found[::2]))
    drawing = ["--samples=200", "--confidence=0.95", "--seed=1"]
    files = [folder / "detections.json", tmp_path / "fewer.json"]
    done = run_yolo("compare", "--gt", folder / "gt.json", *files, "--json", tmp_path / "out.json", *drawing)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())["stats"]
    ours = {entry["name"]: entry["a"] for entry in written["metrics"]}
    assert all(ours[name] == pytest.approx(expected[name], abs=1e-9) for name in ours)
    assert written["verdict"].startswith("A is better by")
    assert "and 50 classes that differ less" in done.stdout
    assert "chance alone puts about 4 of 80 classes" in done.stdout


def test_options_without_meaning_for_files() -> None:
    done = run_yolo("compare", "--gt=gt.json", "a.json", "b.json", "--iou=0.5")
    assert_user_error(done, "--iou means nothing with --gt")
    done = run_yolo("compare", "--gt=gt.json", "a.json", "b.json", "--data.root=x")
    assert_user_error(done, "--data.root means nothing with --gt")
    for option in ("--conf=1", "--max-det=1", "--tile=64", "--network=a"):
        done = run_yolo("compare", "--gt=gt.json", "a.json", "b.json", option)
        assert_user_error(done, f"{option.partition('=')[0]} means")
    assert_user_error(run_yolo("compare", "--gt=no.json", "a.json", "b.json"), "no.json")
