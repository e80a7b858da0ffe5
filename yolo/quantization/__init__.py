"""INT8 networks: which tensors are quantised how, calibration, and training with it."""

QUANTIZED_NETWORK = "yolo.quantization.network.QuantizedNetwork"
"""What a checkpoint of quantisation-aware training names as its network."""
