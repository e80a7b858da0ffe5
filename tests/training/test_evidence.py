from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.test_checkpoint import CARD, write
from yolo.errors import UserError
from yolo.losses.detection import LossResult
from yolo.training.evidence import EVIDENCE_KEY, Before, Evidence, StepTrace


def evidence(**changed) -> Evidence:
    values = {
        "epoch": 1, "step": 0, "images": torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "targets": torch.zeros(0, 6),
        "paths": ["a.jpg"], "losses": {"total": torch.tensor(torch.inf)}, "norms": [torch.tensor(2.0)],
        "buffers": {}, "rng": {"cpu": torch.get_rng_state()}, "evaluating": [], "seed": 0, "precision": "32-true",
        "device": "cpu", "threads": 1, "rank": 0, "world_size": 1,
    }  # fmt: skip
    return Evidence(**{**values, **changed})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pt"
    buffers = {"bn.running_mean": torch.ones(3)}
    weights = {"model.bn.running_mean": torch.zeros(3), "model.w": torch.arange(2.0)}
    evidence(buffers=buffers).write(path, CARD, weights)
    read = Evidence.read(path)
    assert torch.equal(read.rng["cpu"], torch.get_rng_state())
    assert (read.paths, read.losses["total"].item(), read.norms[0].item()) == (["a.jpg"], torch.inf, 2.0)
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert torch.equal(stored["model.bn.running_mean"], torch.ones(3))  # as before the forward pass
    assert torch.equal(stored["model.w"], weights["model.w"])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RuntimeError, match="disk full"):
        evidence().write(tmp_path / "a.pt", CARD, {})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a file that a run left in its folder `non_finite`"):
        Evidence.read(write(tmp_path / "a.ckpt", CARD, nn.Linear(1, 1)))


def test_what_a_forward_pass_changes_is_kept() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())
    before = Before()
    for _ in range(3):  # storage is reused from the second time on
        state = {name: tensor.clone() for name, tensor in network.named_buffers()}
        before.take(network)
        rng = torch.get_rng_state()
        network(torch.rand(4, 2, 3, 3))
        assert before.buffers.keys() == state.keys()
        for name, tensor in network.named_buffers():
            assert torch.equal(before.buffers[name], state[name]), name
            assert not torch.equal(tensor, state[name]), name
        assert torch.equal(before.rng["cpu"], rng)


def test_a_trace_remembers_norms_and_losses_without_their_graph() -> None:
    trace = StepTrace(lambda value: value / 2)
    x = torch.tensor(3.0, requires_grad=True)
    assert trace.reduce_sum(x).item() == 1.5
    trace.keep(LossResult(x * 2, {"box": x.detach()}))
    assert [norm.item() for norm in trace.norms] == [1.5]
    assert {name: value.item() for name, value in trace.losses.items()} == {"box": 3.0, "total": 6.0}
    assert not trace.losses["total"].requires_grad


@pytest.mark.parametrize("stored", [7, {"epoch": 1}])
def test_a_step_of_another_version_is_one_sentence(stored: object, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    evidence().write(path, CARD, {})
    contents = torch.load(path, weights_only=True)
    torch.save({**contents, EVIDENCE_KEY: stored}, path)
    with pytest.raises(UserError, match=r"a\.pt: the step in it was kept by another version"):
        Evidence.read(path)
