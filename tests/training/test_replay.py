from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import TINY_FIT, run_yolo
from tests.models.test_checkpoint import TinyNetwork
from tests.training.callbacks.test_non_finite import POISON
from yolo.models.detection_model import Maps
from yolo.training.evidence import Evidence
from yolo.training.replay import describe_bad_targets, replay

NOISY, WEIGHT = f"{__name__}.NoisyNetwork", "levels.0.weight"


class NoisyNetwork(TinyNetwork):
    """Draws random numbers, normalises by the batch, by frozen statistics, and by a buffer in no state dict."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.batch, self.frozen, self.drop = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Dropout(0.3)
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.frozen.eval()

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        self.calls += 1
        self.frozen.running_mean += 0.01
        return super().forward(self.drop(self.frozen(self.batch(images))) + self.calls / 10)


def spoil(folder: Path, network: str, kind: str, *options: str) -> Path:
    """The bundle of a run of `network` spoilt at its third step."""
    command = [*TINY_FIT, f"--model.model_config={network}", f"{POISON}.{kind}", "--trainer.callbacks.step=2"]
    done = run_yolo(*command, *options, cwd=folder)
    assert done.returncode == 2, (done.stdout, done.stderr)
    return folder / "runs/quickstart/version_0/non_finite/epoch001-step000002.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "parameter", "precision"),
    [(NOISY, WEIGHT, "32-true"), (NOISY, WEIGHT, "bf16-mixed"), ("v9-t", "backbone.stem1.conv.weight", "32-true")],
)
def test_the_same_numbers_to_the_last_bit(network: str, parameter: str, precision: str, tmp_path: Path) -> None:
    # A finite loss: infinities would hide the digits.
    name = f"--trainer.callbacks.name={parameter}"
    shown = replay(spoil(tmp_path, network, "PoisonedGradient", name, f"--trainer.precision={precision}"))
    assert shown.same
    assert shown.losses == shown.recorded
    assert shown.finite  # the poison was a hook, which is not part of the step
    assert shown.first_module is None


@pytest.mark.slow
def test_states_matter_to_the_noisy_network(tmp_path: Path) -> None:
    # The test above could not fail if the loss did not depend on what is kept.
    path = spoil(tmp_path, NOISY, "PoisonedGradient", f"--trainer.callbacks.name={WEIGHT}")
    whole = torch.load(path, weights_only=True)
    for key, change in (
        ("rng", {"cpu": torch.Generator().manual_seed(5).get_state()}),
        ("buffers", {name: tensor + 1 for name, tensor in Evidence.read(path).buffers.items()}),
        ("evaluating", []),
    ):
        torch.save({**whole, "non_finite_step": {**whole["non_finite_step"], key: change}}, tmp_path / "changed.pt")
        assert not replay(tmp_path / "changed.pt").same, key


@pytest.mark.slow
def test_the_first_bad_module_is_named(tmp_path: Path) -> None:
    name = "backbone.stage2.enter.conv.weight"
    shown = replay(spoil(tmp_path, "v9-t", "PoisonedWeight", f"--trainer.callbacks.name={name}"))
    assert not shown.finite
    assert shown.same
    assert shown.first_module == "backbone.stage2.enter.conv"
    assert shown.weights == [name]


def test_bad_targets_are_described() -> None:
    nan, inf = float("nan"), float("inf")
    targets = torch.tensor(
        [
            [0, 1, 0, 0, 10, 20],
            [1, 2, 5, 5, 5, 9],
            [1, 2, 5, 5, inf, 9],
            [nan, 0, 1, 1, 2, 2],
            [0, 0, 1, 1, 40, 2],
            [0, 0, 1, 1, 2, 40],
        ]
    )
    assert describe_bad_targets(targets, ["a.jpg", "b.jpg"], (48, 32)) == [
        "b.jpg: class 2, box 5 5 5 9 has no area",
        "b.jpg: class 2, box 5 5 inf 9 is not finite",
        "image nan: class 0, box 1 1 2 2 is not finite",
        "a.jpg: class 0, box 1 1 40 2 reaches outside the image",
    ]


@pytest.mark.slow
def test_other_ranks_shares_are_taken_from_the_bundle(tmp_path: Path) -> None:
    path = spoil(tmp_path, NOISY, "PoisonedGradient", f"--trainer.callbacks.name={WEIGHT}")
    whole = torch.load(path, weights_only=True)
    step = whole["non_finite_step"]
    step["world_size"], step["norms"] = 2, [norm * 4 for norm in step["norms"]]
    torch.save(whole, path)
    shown = replay(path)
    assert shown.losses["dfl"] == pytest.approx(shown.recorded["dfl"] / 2)  # x 2 processes / 4
