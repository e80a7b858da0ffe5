"""Silence for libraries that print past Python."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_descriptors() -> Iterator[None]:
    """Nothing of what C++ code or Python prints inside is seen."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Notebooks have other objects than files in the place of these. Handlers of logs may keep them: they stay open.
    out, err = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    with tempfile.TemporaryFile() as said, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            yield
        finally:
            out.flush()
            err.flush()
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
