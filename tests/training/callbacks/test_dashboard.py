from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import TINY_FIT, run_yolo
from tests.evaluation.test_analysis import scattered
from tests.training.test_module import TINY
from yolo.commands.fit import make_cli
from yolo.errors import UserError
from yolo.evaluation.evaluator import Metrics
from yolo.training.callbacks import BestCheckpoint, EvalDashboardCallback
from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY

DASHBOARD = "--trainer.callbacks=yolo.training.callbacks.EvalDashboardCallback"
FIT = [*TINY_FIT, f"--model.model_config={TINY}", "--checkpoint.save_top_k=9"]


def module(seed: int = 0) -> SimpleNamespace:
    options = SimpleNamespace(nms_iou_threshold=0.65, nms_max_detections=300)
    metrics = Metrics(scattered(seed), (), ("a", "b", "c", "d"), 0.25)
    return SimpleNamespace(metrics=metrics, card=SimpleNamespace(image_size=(64, 96)), options=options)


def trainer(epoch: int = 0, **kwargs: object) -> SimpleNamespace:
    given = {"sanity_checking": False, "is_global_zero": True, "current_epoch": epoch, "max_epochs": 20}
    given |= {"checkpoint_callbacks": [], **kwargs}
    return SimpleNamespace(**given)


def test_prints_the_module_s_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    callback = EvalDashboardCallback()
    callback.on_validation_end(trainer(4), module())
    out = capsys.readouterr().out
    assert f"{module().metrics.evaluation.summary['AP']:.6f}" in out
    assert "5 images at 64 x 96" in out
    assert "epoch 5/20" in out
    assert "P@0.25" in out
    assert "Trend" not in out


def test_another_confidence_is_measured_there(capsys: pytest.CaptureFixture[str]) -> None:
    EvalDashboardCallback(conf_prod=0.6).on_validation_end(trainer(), module())
    out = capsys.readouterr().out
    assert "P@0.6" in out
    wanted = Metrics(module().metrics.evaluation, (), ("a", "b", "c", "d"), 0.6).analysis
    assert f"{wanted.point.precision:.6f}" in out
    assert f"│ {wanted.errors.true_positives} │" in out


def test_ten_evaluations_and_the_best_are_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    callback, best = EvalDashboardCallback(), 0.0
    for epoch in range(13):
        now = module(epoch % 5)
        callback.on_validation_end(trainer(epoch), now)
        ap = now.metrics.evaluation.summary["AP"]
        assert ("[NEW BEST]" in capsys.readouterr().out) == (ap > best)
        best = max(best, ap)
    assert callback.best == best
    assert [entry["AP50-95"] for entry in callback.history] == [
        module(epoch % 5).metrics.evaluation.summary["AP"] for epoch in range(3, 13)
    ]


def test_a_restored_callback_goes_on_as_if_nothing_had_been(capsys: pytest.CaptureFixture[str]) -> None:
    straight, first = EvalDashboardCallback(), EvalDashboardCallback()
    for epoch in range(2):
        straight.on_validation_end(trainer(epoch), module(epoch))
        first.on_validation_end(trainer(epoch), module(epoch))
    resumed = EvalDashboardCallback()
    resumed.load_state_dict(first.state_dict())
    capsys.readouterr()
    texts = []
    for callback in (straight, resumed):
        callback.on_validation_end(trainer(2), module(2))
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Trend of the last 3" in texts[0]


def test_a_run_resumed_with_it_knows_the_best_of_the_run_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, now = BestCheckpoint(), module()
    ap = now.metrics.evaluation.summary["AP"]
    checkpoint.best_metrics = {"val/mAP": ap + 0.1}
    callback = EvalDashboardCallback()
    callback.on_validation_end(trainer(checkpoint_callbacks=[checkpoint]), now)
    out = capsys.readouterr().out
    assert "NEW BEST" not in out
    assert "(-0.1000 to the best)" in out
    assert callback.best == ap + 0.1
    callback.best = ap
    callback.on_validation_end(trainer(checkpoint_callbacks=[checkpoint]), now)
    assert "(as the best)" in capsys.readouterr().out


def test_quiet_where_nothing_is_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    callback = EvalDashboardCallback()
    callback.on_validation_end(trainer(sanity_checking=True), module())
    callback.on_validation_end(trainer(is_global_zero=False), module())
    assert (capsys.readouterr().out, callback.history, callback.best) == ("", [], None)
    callback = EvalDashboardCallback(show_trends=False)
    for _ in range(2):
        callback.on_validation_end(trainer(), module())
    assert "Trend" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "part"), [({"conf_prod": 1.5}, "conf_prod is 1.5"), ({"top_n_classes": 0}, "is 0")]
)
def test_wrong_options(options: dict, part: str) -> None:
    with pytest.raises(UserError, match=re.escape(part)):
        EvalDashboardCallback(**options)


def test_configs_name_it_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = (Path(__file__).parents[3] / "configs/default.yaml").read_text()
    block = shipped[shipped.index("  # callbacks:") :].split("  # Runs are written")[0]
    block = re.sub(r"(?m)^  # (?=( *#)|( *- )|( *\w+:))", "  ", block)
    assert "callbacks:\n" in block
    Path("given.yaml").write_text(f"trainer:\n{block}")
    cli = make_cli([*TINY_FIT[1:], "--config=given.yaml"], run=False)
    (found,) = (c for c in cli.trainer.callbacks if isinstance(c, EvalDashboardCallback))
    default = EvalDashboardCallback()
    options = ("conf_prod", "show_trends", "top_n_classes")
    assert [getattr(found, name) for name in options] == [getattr(default, name) for name in options]


@pytest.mark.slow
def test_a_run_with_it_resumes_exactly(tmp_path: Path) -> None:
    options = [*FIT, DASHBOARD, "--trainer.callbacks.top_n_classes=1"]
    straight = run_yolo(*options, "--trainer.max_epochs=3", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    run = tmp_path / "runs" / "quickstart"
    (halfway,) = (run / "version_0" / "checkpoints").glob("epoch002-*.ckpt")
    resumed = run_yolo(*options, "--trainer.max_epochs=3", f"--ckpt_path={halfway}", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    last = [done.stdout.split("epoch 3/3  box")[0].split("Evaluation")[-1] for done in (straight, resumed)]
    assert last[0] == last[1]
    assert "Trend of the last 3" in last[0]
    a, b = (torch.load(run / f"version_{i}" / "checkpoints" / "last.ckpt", weights_only=True) for i in (0, 1))
    for key in ("state_dict", TRAINING_WEIGHTS_KEY):
        assert all(torch.equal(tensor, b[key][name]) for name, tensor in a[key].items())
    states = [next(state for name, state in c["callbacks"].items() if "Dashboard" in name) for c in (a, b)]
    assert states[0] == states[1]


def test_the_best_evaluation_is_at_hand_at_the_end() -> None:
    checkpoint = BestCheckpoint()
    found = []
    for epoch, value in enumerate([0.1, 0.3, 0.2]):
        metrics = {"val/mAP": torch.tensor(value)}
        now = trainer(epoch, callback_metrics=metrics, fast_dev_run=False)
        checkpoint.on_validation_end(now, SimpleNamespace(metrics=epoch))
        found.append(checkpoint.best_evaluation)
    assert found == [0, 1, 1]
    assert checkpoint.best_seen
    fresh = BestCheckpoint()
    fresh.load_state_dict(checkpoint.state_dict())
    assert (fresh.best_epoch, fresh.best_evaluation, fresh.best_seen) == (
        2,
        None,
        False,
    )  # of an epoch that this process has not seen
