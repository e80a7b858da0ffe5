"""Distribution focal loss: teaches the distribution over bins, not only its mean."""

from __future__ import annotations

from torch import Tensor


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Cross entropy with the two bins around each distance, each weighted by its closeness (arXiv 2006.04388).

    Args:
        logits: over bins that stand for 0, 1, ..., R - 1, `[..., R]`.
        distances: in the unit of the bins, `[...]`; clamped to [0, R - 1 - 0.01], what the bins can express.

    Returns:
        `[...]`.
    """
    distances = distances.clamp(0, logits.shape[-1] - 1 - 0.01)
    left = distances.nan_to_num(nan=0.0).long()  # NaN is no index; it reaches the loss through the share
    share = distances - left
    log_probability = logits.log_softmax(dim=-1)
    log_left = log_probability.gather(-1, left.unsqueeze(-1)).squeeze(-1)
    log_right = log_probability.gather(-1, left.unsqueeze(-1) + 1).squeeze(-1)
    return -(1 - share) * log_left - share * log_right
