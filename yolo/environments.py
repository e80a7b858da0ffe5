"""Python environments beside this one, for packages whose pins exclude ours, and programs that run in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from yolo.errors import UserError
from yolo.workers.channel import receive, send

ROOT = Path(__file__).parents[1]
WORKERS = Path(__file__).parent / "workers"
"""Scripts that need nothing of ours, so that any environment runs them."""
PATIENCE = 10.0
"""Seconds for a script that closed its pipes to end by itself, so that it can say what went wrong."""


@dataclass(frozen=True)
class Environment:
    """Where a package is looked for: in this environment, then where a variable says, then in a folder of the checkout.

    Attributes:
        purpose: what takes it, for the error.
        package: the one that it must have.
        variable: of the system, holds the path of a Python.
        folder: virtual environment in the checkout that `setup` makes.
        setup: script that makes it.
    """

    purpose: str
    package: str
    variable: str
    folder: str
    setup: str

    def python(self) -> Path:
        """Its interpreter. UserError that says how to get one when there is none."""
        if find_spec(self.package) is not None:
            return Path(sys.executable)
        given = os.environ.get(self.variable)
        if given and not (Path(given).is_file() and os.access(given, os.X_OK)):
            raise UserError(f"{self.variable} is {given}, expected the path of a Python interpreter")
        python = Path(given) if given else ROOT / self.folder / "bin" / "python"
        if not python.exists():
            raise UserError(
                f"{self.purpose} needs {self.package} in an environment of its own: bash {self.setup} makes it, or set "
                f"{self.variable} to the python of one"
            )
        return python

    def require_package(self) -> None:
        """UserError unless the interpreter is there and has the package."""
        python = self.python()
        code = f"import importlib.util; print(importlib.util.find_spec({self.package!r}) is not None)"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, errors="replace", env=_alone())
        if done.stdout.strip() != "True":  # as what is no Python at all would not say
            raise UserError(
                f"{self.purpose} needs {self.package}, which {python} does not have: bash {self.setup} makes an "
                f"environment that does, or set {self.variable} to the python of another"
            )


def run_worker(python: Path, script: str, *arguments: str | Path) -> str:
    """Run a script of `WORKERS` to its end and give what it printed. UserError with its last line when it fails."""
    with tempfile.TemporaryDirectory() as place:
        command, env = [python, WORKERS / script, *arguments], _alone() | {"TMPDIR": place}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise UserError(f"{script} failed with status {done.returncode}: {_last_line(done.stderr)}")
    return done.stdout


class Worker:
    """A script of `WORKERS` that answers arrays with arrays until it is closed; see `workers/channel.py`."""

    def __init__(self, python: Path, script: str, *arguments: str | Path) -> None:
        self._script = script
        self._place = tempfile.TemporaryDirectory()  # packages leave files where temporary ones go
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (lives as long as the script)
        self._process = subprocess.Popen(
            [python, WORKERS / script, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=_alone() | {"TMPDIR": self._place.name},
        )  # fmt: skip
        with self._ended():
            receive(self._answers)

    @property
    def _answers(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdout)

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """What the script makes of them."""
        with self._ended():
            send(cast(BinaryIO, self._process.stdin), arrays)
            return receive(self._answers)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._place.cleanup()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be ending
            self.close()

    @contextlib.contextmanager
    def _ended(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self._process.kill()
            self._process.wait()
            self._errors.seek(0)
            raise UserError(f"{self._script} failed: {_last_line(self._errors.read())}") from error


def _alone() -> dict[str, str]:
    """This process' environment less what would bring its packages into another's."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it said nothing"
