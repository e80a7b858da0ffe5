from __future__ import annotations

import pytest
import torch

from yolo.training.loss_meter import LossMeter


def losses(box: float, cls: float) -> dict[str, torch.Tensor]:
    return {"box": torch.tensor(box, requires_grad=True), "cls": torch.tensor(cls)}


def test_every_image_counts_the_same() -> None:
    meter = LossMeter()
    meter.update(losses(1.0, 4.0), images=3)
    meter.update(losses(5.0, 8.0), images=1)
    means = meter.means()
    assert list(means) == ["box", "cls"]
    assert means["box"].item() == pytest.approx((3 * 1.0 + 5.0) / 4)
    assert means["cls"].item() == pytest.approx((3 * 4.0 + 8.0) / 4)
    assert not means["box"].requires_grad


def test_sums_go_on_where_they_were_stored() -> None:
    torch.manual_seed(0)
    values = torch.rand(20, 2).tolist()
    straight, first, second = LossMeter(), LossMeter(), LossMeter()
    for i, (box, cls) in enumerate(values):
        straight.update(losses(box, cls), images=7)
        (first if i < 9 else second).update(losses(box, cls), images=7)
        if i == 8:
            second.load_state_dict(first.state_dict(), torch.device("cpu"))
    for name, mean in straight.means().items():
        assert torch.equal(mean, second.means()[name])


def test_a_stored_state_does_not_move_on() -> None:
    meter = LossMeter()
    meter.update(losses(1.0, 2.0), images=2)
    stored = meter.state_dict()
    meter.update(losses(3.0, 4.0), images=2)
    assert stored["sums"]["box"].item() == 2.0
    assert stored["images"] == 2


def test_an_epoch_starts_from_nothing() -> None:
    meter = LossMeter()
    meter.update(losses(1.0, 2.0), images=2)
    meter.reset()
    meter.update(losses(3.0, 4.0), images=5)
    assert meter.means()["box"].item() == 3.0


def test_a_process_can_ask_for_its_own_means() -> None:
    meter = LossMeter()
    assert meter.own_means() == {}
    meter.update({"box": torch.tensor(1.0), "cls": torch.tensor(4.0)}, images=1)
    meter.update({"box": torch.tensor(2.0), "cls": torch.tensor(8.0)}, images=3)
    assert meter.own_means() == {"box": 1.75, "cls": 7.0}
