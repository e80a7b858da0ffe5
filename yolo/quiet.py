"""Silence for libraries that print past Python."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_descriptors() -> Iterator[None]:
    """Nothing of what C++ code or Python prints inside is seen, unless an exception ends it; then it is on stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
