from __future__ import annotations

from yolo.training.callbacks.clock import RunClock


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_and_times_left() -> None:
    time = Time()
    clock = RunClock(time)
    clock.start_epoch(0)
    assert clock.batches_per_second == 0
    for _ in range(4):
        time.now += 0.5
        clock.count(16)
    assert clock.images_per_second == 32
    assert clock.epoch_seconds_left(10) == 3.0
    assert clock.run_seconds_left(10, 2) == 3.0 + 2 * 5.0  # nothing is known of the validation yet
    time.now += 5.0  # a validation slows no batch down
    assert clock.images_per_second == 32
    clock.end_epoch()
    clock.start_epoch(0)
    time.now += 0.5
    clock.count(16)
    assert clock.run_seconds_left(10, 2) == 4.5 + 2 * 7.0


def test_an_epoch_resumed_in_its_middle_says_nothing_about_whole_ones() -> None:
    time = Time()
    clock = RunClock(time)
    clock.start_epoch(8)
    time.now += 1.0
    clock.count(4)
    assert (clock.batches, clock.batches_per_second, clock.epoch_seconds_left(10)) == (9, 1.0, 1.0)
    clock.end_epoch()
    assert clock.run_seconds_left(10, 1) == 1.0 + 10.0
