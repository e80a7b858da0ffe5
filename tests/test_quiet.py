from __future__ import annotations

import logging
import os
import sys

import pytest

from yolo.quiet import quiet_descriptors


def say(word: str) -> None:
    for number in (1, 2):
        os.write(number, f"C says {word}\n".encode())
    print(f"Python says {word}")
    print(f"Python complains of {word}", file=sys.stderr)


def say_and_fail(word: str) -> None:
    say(word)
    raise RecursionError


def test_nothing_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_descriptors():
        say("one")
    with pytest.raises(RecursionError), quiet_descriptors():
        say_and_fail("two")
    assert capfd.readouterr() == ("", "")


def test_everything_else_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", end=" ")
    with quiet_descriptors():
        pass
    say("three")
    out, err = capfd.readouterr()
    assert "before" in out
    assert "Python says three" in out
    assert "Python complains of three" in err
    assert out.count("C says three") == err.count("C says three") == 1


def test_a_log_that_began_inside_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_descriptors():
        handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": "later"}))
    assert capfd.readouterr().err == "later\n"


def test_no_descriptor_is_left_open() -> None:
    def lowest() -> int:
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        return number

    before = lowest()
    for _ in range(3):
        with quiet_descriptors():
            pass
    assert lowest() == before
