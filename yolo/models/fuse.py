"""Folding of training-time structure into plain convolutions that compute the same thing in eval mode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from yolo.models.blocks import Conv, RepConv


@torch.no_grad()
def fuse(module: nn.Module) -> None:
    """Fold, in place, each Conv's normalisation into its convolution and each RepConv into one 3x3 convolution.

    Fused parts are left as they are, so a second call changes nothing.

    Raises:
        ValueError: when the module is in training mode, where batch statistics cannot be folded.
    """
    if module.training:
        raise ValueError(f"fuse needs a module in eval mode, found {type(module).__name__} in training mode")
    for part in module.modules():
        if isinstance(part, Conv) and isinstance(part.bn, nn.modules.batchnorm._BatchNorm):
            part.conv = fuse_conv_bn_eval(part.conv, part.bn)
            part.bn = nn.Identity()
    for part in module.modules():
        if isinstance(part, RepConv) and part.conv1 is not None:
            merge_branches(part.conv3.conv, part.conv1.conv)
            part.conv1 = None


def merge_branches(conv3: nn.Conv2d, conv1: nn.Conv2d) -> None:
    """Add a biased 1x1 convolution to a biased 3x3 one in place: a 1x1 kernel is the centre of a 3x3 one (RepVGG)."""
    assert conv3.bias is not None
    assert conv1.bias is not None
    conv3.weight += F.pad(conv1.weight, (1, 1, 1, 1))
    conv3.bias += conv1.bias
