"""A terminal as far as progress bars need one: what is on the screen after all the control codes."""

from __future__ import annotations

import io
import re


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        return screen(self.getvalue())


def screen(text: str) -> list[str]:
    """The lines on a screen of endless height and width, but for empty ones at its end; colours are left out."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\x1b\[[?\d;]*[A-Za-z]|\r|\n)", text):
        code = re.fullmatch(r"\x1b\[([?\d;]*)([A-Za-z])", part)
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif code is None:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
        elif code[2] == "A":
            row -= int(code[1] or 1)
            assert row >= 0
        elif code[2] == "K":
            assert code[1] == "2"
            lines[row] = ""
        else:
            assert code[2] == "m" or code[1].startswith("?"), part
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]
