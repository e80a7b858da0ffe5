"""Colour variation of whole batches on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor


def recolour_batch(images: Tensor, gains: Tensor) -> Tensor:
    """Multiply hue (cyclic), saturation and value (saturating) of each image by its gains.

    Args:
        images: uint8 `[B, 3, H, W]` RGB.
        gains: float `[B, 3]` for hue, saturation, value.

    Returns:
        New images like `images`, equal to `colour.apply_hsv` but for that one's rounding of hue, saturation and value
        to 8 bits.
    """
    pixels = images.float()
    hue_gain, saturation_gain, value_gain = gains.to(pixels).t()[..., None, None, None]  # each [B, 1, 1, 1]
    value, largest = pixels.max(1, keepdim=True)  # [B, 1, H, W]
    chroma = value - pixels.amin(1, keepdim=True)
    red, green, blue = pixels.split(1, dim=1)
    # Hue in sixths of the circle: 0 red, 2 green, 4 blue. Grey has chroma 0 and gets 0.
    ahead = torch.where(largest == 0, green - blue, torch.where(largest == 1, blue - red, red - green))
    hue = (2 * largest + ahead / chroma.clamp(min=1)).remainder(6) * hue_gain
    saturation = (chroma / value.clamp(min=1) * saturation_gain).clamp(max=1)
    value = (value * value_gain).clamp(max=255)
    # A channel falls from `value` with the distance of its own hue: 5, 3, 1 put red, green, blue at 0, 2, 4.
    turn = (hue + pixels.new_tensor([5, 3, 1]).view(3, 1, 1)).remainder(6)
    share = torch.minimum(turn, 4 - turn).clamp(0, 1)
    return torch.empty_like(images).copy_((value - value * saturation * share).round())
