"""LiteRT's converter: a torch module to the bytes of a .tflite file."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from yolo.errors import UserError
from yolo.models.exportable import WithOutputs


class ChannelsLast(nn.Module):
    """The same with TFLite's layout outside: images [B, H, W, 3], maps [B, h, w, K]."""

    def __init__(self, network: WithOutputs) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """As the network otherwise."""
        outputs = self.network(images.permute(0, 3, 1, 2))
        return tuple(output.permute(0, 2, 3, 1) if output.ndim == 4 else output for output in outputs)


def convert(module: nn.Module, image_size: tuple[int, int], quantized: bool) -> bytes:
    """The file of a module that takes float [1, H, W, 3].

    Args:
        module: with quantise and dequantise operators inside where it is quantized.
        image_size: (height, width).
        quantized: whether it is.

    Raises:
        UserError: LiteRT has no operator for something in the module.
    """
    with _quiet():
        import litert_torch
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig

        # The quantizer in it is not used: it says that the scales in the module are to be kept.
        static = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))
        try:
            converted = litert_torch.convert(
                module, (torch.zeros(1, *image_size, 3),), quant_config=static if quantized else None
            )
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise UserError(f"LiteRT cannot express the network: {' '.join(str(error).split())[:300]}") from error
        return converted.model_content()


def smaller_weights(content: bytes, kind: Literal["fp16", "dynamic"]) -> bytes:
    """A float file with weights of 16 bits, or of 8 bits that arithmetic in 8 bits is done with."""
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        from ai_edge_quantizer import qtyping, quantizer, recipe

        path = Path(folder) / "float.tflite"
        path.write_bytes(content)
        work = quantizer.Quantizer(str(path))
        if kind == "dynamic":
            work.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        else:
            work.update_quantization_recipe(
                regex=".*",
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                op_config=qtyping.OpQuantizationConfig(
                    weight_tensor_config=qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT),
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                    explicit_dequantize=True,
                ),
                algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
            )
        result = work.quantize().quantized_model
    assert result is not None
    return bytes(result)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress, warnings and logs of the converter and of what it is made of."""
    from yolo.quiet import quiet_descriptors

    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), quiet_descriptors():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
