"""What exported files take and give: the names and choices, which the command line needs without torch."""

from __future__ import annotations

from typing import Literal

INPUT = "images"
"""Name of the input: float [B, 3, H, W] RGB in 0..1."""

Form = Literal["full", "split", "raw"]
"""What comes out. full: `output0` [B, 4 + C, A], boxes xywh in pixels and probabilities. split: the two apart, `boxes`
[B, 4, A] and `scores` [B, C, A]. raw: of each level `box_logits_i` [B, 4 * R, h, w] and `class_logits_i` [B, C, h, w],
to be decoded by the host."""

Quantization = Literal["fp32", "fp16", "int8", "dynamic"]
"""Numbers of weights and arithmetic."""
