"""Worker processes: how many the system's limit of open files allows, and how one starts.

A spawned worker imports this file, and so not Lightning, which takes longer than everything else that it needs.
"""

from __future__ import annotations

import logging
import signal
from types import FrameType

import cv2

logger = logging.getLogger(__name__)

# Descriptors in the main process (pipes, queues, batches in shared memory): 6 to 7 were measured for a worker, and the
# training and the validation data have as many workers each.
FILES_PER_WORKER = 15
_RESERVED = 500  # the rest of the program
_ROOMY = 1000  # what the limit that we recommend leaves for it


def usable_workers(num_workers: int) -> int:
    """`num_workers`, or as many as the soft limit of open files allows, with a warning that names the limit needed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return num_workers
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max((limit - _RESERVED) // FILES_PER_WORKER, 1)
    if limit == resource.RLIM_INFINITY or num_workers <= most:
        return num_workers
    logger.warning(
        "reducing num_workers: %d -> %d (ulimit -n = %d); for %d workers: ulimit -n %d",
        *(num_workers, most, limit, num_workers, num_workers * FILES_PER_WORKER + _ROOMY),
    )
    return most


def init_worker(worker_id: int) -> None:  # noqa: ARG001 (torch calls it with the id)
    """What each worker does first."""
    # Workers share the machine; and OpenCV's thread pool does not survive a fork.
    cv2.setNumThreads(0)
    # Ctrl-C, and SIGTERM from many a supervisor, reach every process of a group; the training process, which writes a
    # checkpoint first, still needs its workers. A second SIGTERM ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _survive_once)


def _survive_once(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
