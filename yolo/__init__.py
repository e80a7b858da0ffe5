"""Train YOLOv9 detectors, shrink them to INT8, and trust every number on the way.

>>> from yolo import Detector  # doctest: +SKIP
>>> Detector.load("best.ckpt")("image.jpg").plot()  # doctest: +SKIP
"""

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "__version__"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything here, or a worker, imports onnxruntime

if TYPE_CHECKING:
    from yolo.detector import Detections, Detector


def __getattr__(name: str) -> Any:
    """Import torch only when the detector is asked for: `yolo --help` must not wait for it."""
    if name in ("Detector", "Detections"):
        from yolo import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'yolo' has no attribute {name!r}")
