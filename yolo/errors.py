"""The one exception that stands for a mistake in what a person gave us, not in the program."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: a file, an option or a value that cannot be used.

    The message is one sentence that names what was found and what was expected. The command line prints it after
    `error: ` without a traceback and exits with status 2.
    """
