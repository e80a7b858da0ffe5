"""What of Lightning's own talk reaches the terminal: warnings that matter, no advertisements."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Silence hardware banners, tips and warnings about choices that are ours, not the user's."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        "LightningCLI's args parameter is intended.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*You are using a CUDA device .* that has Tensor Cores.*",
    ):
        warnings.filterwarnings("ignore", message)
