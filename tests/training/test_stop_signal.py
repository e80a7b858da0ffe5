from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from yolo.training.stop_signal import StopSignal


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def trainer(*, others: bool = False) -> SimpleNamespace:
    def decide(mine: bool, all: bool) -> bool:  # noqa: A002 (Lightning's name)
        assert not all
        return mine or others

    return SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=decide))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_wish_and_the_second_acts(number: signal.Signals) -> None:
    stop = StopSignal()
    stop.listen()
    assert stop.agreed(trainer()) is None
    os.kill(os.getpid(), number)
    assert stop.agreed(trainer()) is number
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_to_one_process_stops_all() -> None:
    assert StopSignal().agreed(trainer(others=True)) is signal.SIGTERM


def test_elsewhere_than_in_the_main_thread_nothing_is_replaced() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopSignal().listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
