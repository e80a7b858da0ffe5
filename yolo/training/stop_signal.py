"""SIGTERM and Ctrl-C as a wish to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Trainer

# What each signal does when it comes again.
_AT_ONCE: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class StopSignal:
    """Notes the first SIGTERM or SIGINT; the next one acts at once.

    Lightning's own SIGTERM handling raises after any batch, also between two accumulated ones, whose gradients no
    checkpoint holds. Hence this one, which is asked where it suits.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def listen(self) -> None:
        """Replace the handlers until Lightning, which has noted the original ones, puts those back at its end."""
        self.received = None
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in _AT_ONCE:
                signal.signal(number, self._note)

    def agreed(self, trainer: Trainer) -> signal.Signals | None:
        """The signal that this or another process has received; all processes must ask together."""
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return None
        return self.received or signal.SIGTERM

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for each, handler in _AT_ONCE.items():
            signal.signal(each, handler)
