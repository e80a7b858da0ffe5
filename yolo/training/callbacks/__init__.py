"""Lightning callbacks, one file each."""

from yolo.training.callbacks.checkpoint import BestCheckpoint
from yolo.training.callbacks.dashboard import EvalDashboardCallback
from yolo.training.callbacks.ema import EMACallback
from yolo.training.callbacks.progress_bar import YOLOProgressBar
from yolo.training.callbacks.qat import QATCallback
from yolo.training.callbacks.resume import ExactResume
from yolo.training.callbacks.summary import TrainingSummaryCallback

__all__ = [
    "BestCheckpoint",
    "EMACallback",
    "EvalDashboardCallback",
    "ExactResume",
    "QATCallback",
    "TrainingSummaryCallback",
    "YOLOProgressBar",
]
