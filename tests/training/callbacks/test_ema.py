from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY, EMACallback


class Line(LightningModule):
    """Learns a line; has BN statistics and a counter beside its parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.history: list[dict] = []
        self.seen_in_validation: dict = {}

    def training_step(self, batch, index):
        return self.model(batch).square().mean()

    def on_train_batch_end(self, *args):
        self.history.append({k: v.clone() for k, v in self.model.state_dict().items()})

    def validation_step(self, batch, index):
        self.seen_in_validation = {k: v.clone() for k, v in self.model.state_dict().items()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.arange(80.0).view(40, 2) / 40, batch_size=4)

    val_dataloader = train_dataloader


def train(tmp_path, ema: EMACallback, model: Line, **kwargs) -> Trainer:
    trainer = Trainer(
        default_root_dir=tmp_path, max_epochs=kwargs.pop("max_epochs", 2), accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        callbacks=[ema], **kwargs,
    )  # fmt: skip
    trainer.fit(model)
    return trainer


def closed_form(start: dict, history: list[dict], decay: float, tau: float) -> dict:
    average = {k: v.double() for k, v in start.items() if v.is_floating_point()}
    for n, weights in enumerate(history, 1):
        d = decay * (1 - math.exp(-n / tau))
        average = {k: d * v + (1 - d) * weights[k].double() for k, v in average.items()}
    return average


def test_average_follows_the_closed_form_and_validation_sees_it(tmp_path) -> None:
    model = Line()
    start = {k: v.clone() for k, v in model.model.state_dict().items()}
    train(tmp_path, EMACallback(decay=0.9, tau=5), model)
    assert len(model.history) == 20
    for name, value in closed_form(start, model.history, 0.9, 5).items():
        torch.testing.assert_close(model.seen_in_validation[name].double(), value, rtol=1e-5, atol=1e-6)
    # Training went on from the weights, not from the average; counters are not averaged.
    assert all(torch.equal(v, model.history[-1][k]) for k, v in model.model.state_dict().items())
    assert model.seen_in_validation["1.num_batches_tracked"] == 20


def test_first_update_keeps_the_documented_share() -> None:
    model, ema = Line(), EMACallback()
    trainer = SimpleNamespace(global_step=0)
    ema.on_fit_start(trainer, model)
    start = model.model[0].weight.detach().clone()
    with torch.no_grad():
        model.model[0].weight += 1
    trainer.global_step = 1
    ema.on_train_batch_end(trainer, model)
    ema.on_validation_start(trainer, model)
    kept = 1 - (model.model[0].weight - start).mean().item()
    assert kept == pytest.approx(4.998e-4, rel=1e-2)


def test_resuming_without_the_average_goes_on_from_the_training_weights(tmp_path) -> None:
    first = Line()
    train(tmp_path, EMACallback(decay=0.9, tau=5), first).save_checkpoint(tmp_path / "a.ckpt")
    second = Line()
    trainer = Trainer(
        default_root_dir=tmp_path, max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=[EMACallback(enabled=False)],
    )  # fmt: skip
    trainer.fit(second, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(second.model[0].weight, first.model[0].weight)


def test_one_update_per_optimiser_step_when_batches_are_accumulated(tmp_path) -> None:
    ema = EMACallback()
    train(tmp_path, ema, Line(), accumulate_grad_batches=5)
    assert ema.updates == 4


def test_checkpoint_hands_out_the_average_and_resumes_exactly(tmp_path) -> None:
    straight = Line()
    reference = EMACallback(decay=0.9, tau=5)
    train(tmp_path, reference, straight, max_epochs=4)

    first = Line()
    trainer = train(tmp_path, EMACallback(decay=0.9, tau=5), first)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    averaged, training = stored["state_dict"], stored[TRAINING_WEIGHTS_KEY]
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(training[f"model.{name}"], tensor)
        assert torch.equal(averaged[f"model.{name}"], first.seen_in_validation[name])
    assert not torch.equal(averaged["model.0.weight"], training["model.0.weight"])

    second, ema = Line(), EMACallback(decay=0.9, tau=5)
    resumed = Trainer(
        default_root_dir=tmp_path, max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=[ema],
    )  # fmt: skip
    resumed.fit(second, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert ema.updates == reference.updates == 40
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], tensor), name
    for name, tensor in straight.seen_in_validation.items():
        assert torch.equal(second.seen_in_validation[name], tensor), name


def test_disabled(tmp_path) -> None:
    model = Line()
    trainer = train(tmp_path, EMACallback(enabled=False), model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert TRAINING_WEIGHTS_KEY not in torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(model.seen_in_validation["0.weight"], model.history[-1]["0.weight"])


def test_failing_validation_leaves_the_training_weights(tmp_path) -> None:
    class Failing(Line):
        def validation_step(self, batch, index):
            raise RuntimeError("broken evaluator")

    model = Failing()
    with pytest.raises(RuntimeError, match="broken evaluator"):
        train(tmp_path, EMACallback(decay=0.9, tau=5), model)
    assert torch.equal(model.model.state_dict()["0.weight"], model.history[-1]["0.weight"])
