"""INT8 networks: which tensors are quantised how, calibration, and what training with it takes."""
