"""SIGTERM and Ctrl-C as a wish to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn, cast

from lightning.pytorch import Trainer

from yolo.lightning_output import print_line

# What each signal does when it comes again.
_AT_ONCE: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class StopSignal:
    """Notes the first SIGTERM or SIGINT; the next one acts at once.

    Lightning's own SIGTERM handling raises after any batch, also between two accumulated ones, whose gradients no
    checkpoint holds. Hence this one, which is asked where it suits.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def replace_lightnings(self, trainer: Trainer) -> None:
        """Have Lightning install this as its SIGTERM handler, before any of its loops begins.

        Its own one lets the program end with status 0, and waits within the handler for the other processes, which
        need not have got the signal.
        """
        cast(Any, trainer)._signal_connector._sigterm_notifier_fn = self._note

    def listen(self) -> None:
        """Replace the handlers until Lightning, which has noted the original ones, puts those back at its end."""
        # Python allows it in no other thread; after a first signal the next one is to act at once.
        if self.received is None and threading.current_thread() is threading.main_thread():
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


def end_as(trainer: Trainer, stop: signal.Signals, when: str) -> NoReturn:
    """End the program with the status of one that a signal has ended; the first process says so."""
    print_line(trainer, f"stopped by {stop.name} {when}")
    raise SystemExit(128 + stop)
