"""The one exception that stands for a mistake in what a person gave us, not in the program."""

from __future__ import annotations

from collections.abc import Mapping


class UserError(Exception):
    """Bad input: a file, an option or a value that cannot be used.

    The message is one sentence that names what was found and what was expected. The command line prints it after
    `error: ` without a traceback and exits with status 2.
    """


def require_ranges(options: object, ranges: Mapping[str, tuple[float, float]], section: str) -> None:
    """Check that each named attribute of `options` lies between its two bounds, both allowed.

    Raises:
        UserError: names the option as `section.name`, or as the flag that it is in section `--`, its value and the
            bounds.
    """
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            least = f"at least {low}" if low == 0 or low >= 1e-6 else "above 0"
            bound = f"between {low} and {high}" if high != float("inf") else least
            name = name.replace("_", "-") if section == "--" else name
            raise UserError(f"{section}{name} is {value}, expected a value {bound}")
