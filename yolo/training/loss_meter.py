"""Epoch means of the losses.

Lightning's own epoch means live in its result collection, which no checkpoint holds: after a resume in mid-epoch they
would be the means of the rest of the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from yolo.ranks import sum_over_ranks


class LossMeter:
    """Running sums of named losses, each batch weighted by its images; every process keeps its own."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        self._sums: dict[str, Tensor] = {}
        self._images = 0

    def update(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Take in the mean losses (scalars) of a batch of `images` images."""
        for name, value in losses.items():
            weighted = value.detach() * images
            self._sums[name] = self._sums[name].to(weighted) + weighted if name in self._sums else weighted
        self._images += images

    def means(self) -> dict[str, Tensor]:
        """The mean of each loss over all images so far, on all processes; all of them must call it."""
        images = next(iter(self._sums.values())).new_tensor(self._images)
        total = sum_over_ranks(torch.stack([*self._sums.values(), images]))
        return dict(zip(self._sums, total[:-1] / total[-1], strict=True))

    def own_means(self) -> dict[str, float]:
        """The mean of each loss over this process's images so far; it alone may ask. Waits for the device."""
        if not self._sums:
            return {}
        return dict(zip(self._sums, (torch.stack([*self._sums.values()]) / self._images).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """The sums, as they are stored in a checkpoint."""
        return {"sums": dict(self._sums), "images": self._images}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from stored sums."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._images = state["images"]
