from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo.losses.dfl import distribution_focal_loss


def test_whole_distance_is_plain_cross_entropy() -> None:
    logits = torch.randn(5, 4, 16, dtype=torch.float64)
    bins = torch.randint(0, 15, (5, 4))
    expected = F.cross_entropy(logits.flatten(0, 1), bins.flatten(), reduction="none").view(5, 4)
    assert torch.allclose(distribution_focal_loss(logits, bins.double()), expected)


def test_fraction_shares_between_two_bins() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    log_probability = logits.log_softmax(0)
    expected = -0.75 * log_probability[1] - 0.25 * log_probability[2]
    assert distribution_focal_loss(logits, torch.tensor(1.25)) == pytest.approx(expected.item())


def test_distances_outside_the_bins_are_clamped() -> None:
    logits = torch.randn(16, dtype=torch.float64)
    log_probability = logits.log_softmax(0)
    assert distribution_focal_loss(logits, torch.tensor(-3.0)) == pytest.approx(-log_probability[0].item())
    last = -0.01 * log_probability[14] - 0.99 * log_probability[15]
    for distance in (15.0, 99.0):
        value = distribution_focal_loss(logits, torch.tensor(distance, dtype=torch.float64))
        assert value == pytest.approx(last.item())


def test_least_where_the_mass_lies_at_the_distance() -> None:
    logits = torch.full((16,), -50.0)
    logits[3] = logits[4] = 0.0
    assert distribution_focal_loss(logits, torch.tensor(3.5)) == pytest.approx(0.6931472)  # ln 2: two equal bins
    assert distribution_focal_loss(logits, torch.tensor(8.5)) > 40


def test_nothing_gives_nothing() -> None:
    assert distribution_focal_loss(torch.empty(0, 4, 16), torch.empty(0, 4)).shape == (0, 4)


def test_a_distance_that_is_no_number_shows_in_the_loss() -> None:
    loss = distribution_focal_loss(torch.zeros(2, 16), torch.tensor([torch.nan, 1.0]))
    assert loss.isnan().tolist() == [True, False]
