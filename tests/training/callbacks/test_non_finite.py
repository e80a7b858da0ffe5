from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import TINY_FIT, assert_user_error, run_yolo
from tests.processes import Done
from tests.training.test_module import TINY
from yolo.data.datamodule import YOLODataModule
from yolo.models.checkpoint import CARD_KEY, ModelCard
from yolo.training.callbacks.non_finite import NonFiniteGuard
from yolo.training.evidence import EVIDENCE_KEY, Evidence

POISON = "--trainer.callbacks=tests.training.callbacks.poison"
RUN = Path("runs/quickstart/version_0")


def spoil(folder: Path, kind: str, *options: str) -> Done:
    """A run of the tiny network (three steps per epoch) in which something is spoilt."""
    given = [f"--trainer.callbacks.{option}" for option in options if not option.startswith("--")]
    others = [option for option in options if option.startswith("--")]
    return run_yolo(*TINY_FIT, f"--model.model_config={TINY}", *others, f"{POISON}.{kind}", *given, cwd=folder)


@pytest.mark.slow
def test_the_run_stops_within_the_step_and_says_all(tmp_path: Path) -> None:
    done = spoil(tmp_path, "PoisonedTarget", "step=4", "value=1e30", "--model.box_loss_type=mpdiou")
    path = RUN / "non_finite" / "epoch002-step000004.pt"
    assert_user_error(
        done, "the loss is not finite at epoch 2, step 4 (box inf, cls ", "dfl ", "total inf)", "images: 0000",
        f"the step is kept in {path}", f"yolo replay {path} --network {TINY}",
    )  # fmt: skip
    kept = torch.load(tmp_path / path, weights_only=True)[EVIDENCE_KEY]
    assert (kept["step"], kept["epoch"], kept["seed"], kept["precision"]) == (4, 2, 0, "32-true")
    for name in kept["paths"]:
        assert Path(name).name in done.stderr
    assert len(kept["paths"]) == len(kept["images"]) == 8
    assert kept["images"].dtype == torch.uint8
    assert kept["targets"][0, 4] == 1e30
    assert [p.name for p in (tmp_path / path).parent.iterdir()] == [path.name]
    assert (tmp_path / RUN / "checkpoints" / "last.ckpt").is_file()  # of the first epoch


@pytest.mark.slow
def test_the_weights_are_those_of_the_training(tmp_path: Path) -> None:
    spoil(tmp_path, "PoisonedTarget", "step=3")
    bundle = torch.load(tmp_path / RUN / "non_finite/epoch002-step000003.pt", weights_only=True)
    last = torch.load(tmp_path / RUN / "checkpoints/last.ckpt", weights_only=True)  # the same moment, three steps done
    differs = False
    for name, tensor in bundle["state_dict"].items():
        assert torch.equal(tensor, last["training_state_dict"][name]), name
        differs |= not torch.equal(tensor, last["state_dict"][name])
    assert differs
    assert ModelCard.from_dict(bundle[CARD_KEY]) == ModelCard.from_dict(last[CARD_KEY])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_infinite_gradient_stops_before_it_reaches_the_weights(precision: str, tmp_path: Path) -> None:
    options = f"--trainer.precision={precision}", "--trainer.accumulate_grad_batches=2"
    done = spoil(tmp_path, "PoisonedGradient", "step=1", "name=levels.0.weight", *options)
    assert_user_error(done, "the gradient is not finite at epoch 1, step 1 (box ")
    bundle = torch.load(tmp_path / RUN / "non_finite/epoch001-step000001.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in bundle["state_dict"].values())
    assert all(value.isfinite() for value in bundle[EVIDENCE_KEY]["losses"].values())


@pytest.mark.parametrize(("precision", "loss", "stops"), [
    ("16-mixed", 1.0, False), ("16-mixed", torch.inf, True), ("bf16-mixed", 1.0, True),
])  # fmt: skip
def test_half_precision_leaves_gradients_to_the_scaler(precision: str, loss: float, stops: bool, monkeypatch) -> None:
    # Lightning has no 16-mixed on the CPU, so the hook is called by hand.
    network = torch.nn.Linear(1, 1)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    stopped = []
    monkeypatch.setattr(NonFiniteGuard, "_stop", lambda *_: stopped.append(True))
    module = SimpleNamespace(model=network, trace=SimpleNamespace(losses={"total": torch.tensor(loss)}))
    NonFiniteGuard().on_after_backward(SimpleNamespace(precision=precision), module)
    assert stopped == [True] * stops


@pytest.mark.slow
@pytest.mark.parametrize("value", [".nan", "-.inf"])
def test_other_poisons(value: str, tmp_path: Path) -> None:
    assert_user_error(spoil(tmp_path, "PoisonedTarget", "step=0", f"value={value}"), "the loss is not finite", "step 0")


@pytest.mark.slow
def test_a_step_that_cannot_be_kept_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir(parents=True)
    (tmp_path / RUN / "non_finite").write_text("in the way")
    logger = "--trainer.logger.init_args.version=0"
    done = spoil(tmp_path, "PoisonedTarget", "step=0", logger)
    assert_user_error(done, "the loss is not finite", "step 0", "could not be kept in", "non_finite")


@pytest.mark.slow
def test_a_sound_run_leaves_nothing(tmp_path: Path) -> None:
    done = spoil(tmp_path, "PoisonedTarget", "step=99", "--trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / RUN / "non_finite").exists()


@pytest.mark.slow
def test_evidence_reads_what_was_written(tmp_path: Path) -> None:
    spoil(tmp_path, "PoisonedTarget", "step=0")
    evidence = Evidence.read(tmp_path / RUN / "non_finite/epoch001-step000000.pt")
    assert evidence.images.shape == (8, 3, 64, 64)
    assert evidence.losses.keys() == {"box", "cls", "dfl", "total"}


@pytest.mark.slow
def test_images_that_are_encrypted_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(YOLODataModule, "confidential", True)
    done = spoil(tmp_path, "PoisonedTarget", "step=1")
    assert_user_error(done, "is not finite at epoch 1, step 1", "the step is not kept", "they are encrypted")
    assert not (tmp_path / RUN / "non_finite").exists()
