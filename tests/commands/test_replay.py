from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.test_docs import NETWORK
from tests.training.callbacks.test_non_finite import POISON
from yolo.training.evidence import EVIDENCE_KEY

BUNDLE = Path("runs/quickstart/version_0/non_finite/epoch001-step000002.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "value"),
    [
        (["--trainer.callbacks.value=1e30", "--model.box_loss_type=mpdiou"], "inf"),
        (["--trainer.callbacks.value=.inf"], "nan"),
    ],
)
def test_a_poisoned_label(options: list[str], value: str, tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, f"{POISON}.PoisonedTarget", "--trainer.callbacks.step=2", *options, cwd=tmp_path)
    assert_user_error(done, "epoch 1, step 2", f"box {value}, ", f"total {value}", f"yolo replay {BUNDLE}")

    done = run_yolo("replay", BUNDLE, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    shown = json.loads(done.stdout)
    kept = torch.load(tmp_path / BUNDLE, weights_only=True)[EVIDENCE_KEY]
    assert shown["losses"] == shown["recorded"]
    assert {k: float(v) for k, v in shown["losses"].items()} == pytest.approx(
        {k: v.item() for k, v in kept["losses"].items()}, rel=0, abs=0, nan_ok=True
    )
    assert (shown["losses"]["box"], shown["losses"]["total"]) == (value, value)
    assert shown["same"]
    assert not shown["finite"]
    assert shown["first_module"] is None
    assert shown["weights"] == []
    assert len(shown["targets"]) == 1
    assert shown["targets"][0].startswith(kept["paths"][0])
    assert shown["images"] == kept["paths"]

    done = run_yolo("replay", BUNDLE, cwd=tmp_path)
    assert done.returncode == 1
    assert f"box   {value}" in done.stdout
    assert "the loss is the same as in the run; loss and gradient are not finite" in done.stdout
    assert kept["paths"][7] in done.stdout


def test_a_step_that_is_finite_again_exits_with_0(tmp_path: Path) -> None:
    own = ["--trainer.callbacks.step=2", "--trainer.callbacks.name=stem.conv.weight"]
    assert_user_error(run_yolo(*TINY_FIT, f"{POISON}.PoisonedGradient", *own, cwd=tmp_path), "the gradient is not")
    done = run_yolo("replay", BUNDLE, "--device=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the loss is the same as in the run; loss and gradient are finite" in done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "replayed_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["--model.model_config=replayed_network.MyNetwork", '--model.network_args={"width": 4}']
    weight = [f"{POISON}.PoisonedWeight", "--trainer.callbacks.step=2", "--trainer.callbacks.name=fine.weight"]
    done = run_yolo(*TINY_FIT, *own, *weight, cwd=tmp_path)
    command = ["replay", str(BUNDLE), "--network", "replayed_network.MyNetwork"]
    assert_user_error(done, f"yolo {' '.join(command)}")
    del sys.modules["replayed_network"]  # as in a new process
    assert_user_error(run_yolo(*command[:2], cwd=tmp_path), "replayed_network.MyNetwork", "--network")
    done = run_yolo(*command, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "first module whose output is not finite: fine\n" in done.stdout


def test_other_files(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"nothing")
    assert_user_error(run_yolo("replay", tmp_path / "a.pt"), "a.pt", "not a readable checkpoint")
    assert_user_error(run_yolo("replay", "none.pt"), "none.pt", "no such")
    assert_user_error(run_yolo("replay", tiny_run.best), "best.ckpt", "folder `non_finite`")
    assert_user_error(run_yolo("replay"), "bundle")
