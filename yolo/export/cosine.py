"""How alike the raw maps of a quantised file and of the float network are, image for image."""

from __future__ import annotations

from dataclasses import replace

import torch

from yolo.export.config import Source
from yolo.quantization.calibration import spread
from yolo.runtime.network import ExportedNetwork

COMPARED = 16
"""At most as many calibration images are run through the file."""


@torch.inference_mode()
def cosines(source: Source, file: ExportedNetwork) -> dict[str, float]:
    """Cosine of each raw map of a file with the float network's, all images together.

    Args:
        source: what the file was made of, in form `raw`, with the images that it was calibrated with.
        file: as its users run it.

    Returns:
        By the name of the output.
    """
    assert source.calibration is not None
    some = replace(source.calibration, readers=spread(source.calibration.readers, COMPARED))
    device = source.model.get_buffer("bins").device
    outputs = source.record.outputs
    products = torch.zeros(len(outputs), 3, dtype=torch.float64)
    for images in some:
        maps, *_ = file(images)
        pairs = zip(maps, zip(*[iter(outputs.values())] * 2, strict=True), strict=True)
        found = [logits for level, shapes in pairs for logits in level.split([shape[0] for shape in shapes], 1)]
        for row, pair in enumerate(zip(found, source.model(images.to(device)), strict=True)):
            a, b = (logits.double().cpu().ravel() for logits in pair)
            products[row] += torch.stack([a @ b, a @ a, b @ b])
    dots, *squares = products.unbind(1)
    return dict(zip(outputs, (dots / (squares[0] * squares[1]).sqrt()).tolist(), strict=True))
