"""JPEG by libjpeg-turbo without OpenCV between, for the files in which that gives the same pixels."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolo.errors import UserError

Decoder: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

REFUSALS = (OSError, RuntimeError, ValueError)
"""What decoders raise for content that they do not decode."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
_APP1, _SCAN = 0xE1, 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: Huffman coded, lossy
_SEGMENTS = {*range(0xC0, 0xD0), *range(_SCAN, 0xFF)}  # markers that a length follows
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_MOST_PIXELS = 1 << 30  # OpenCV's own limit


@functools.cache
def find_decoder() -> Decoder:
    """simplejpeg, else PyTurboJPEG with its library: from the bytes of a JPEG to uint8 [H, W, 3] RGB.

    Once per process. Both are safe in threads: each call has its own handle.

    Raises:
        UserError: Neither can be used.
    """
    try:
        return _simplejpeg()
    except ImportError as first:
        try:
            return _pyturbojpeg()
        # AttributeError: PyTurboJPEG 2 finds the library of Debian 12, which lacks the functions that it calls.
        except (ImportError, OSError, RuntimeError, AttributeError) as second:
            raise UserError(
                "TurboJPEGLoader finds no decoder: `pip install simplejpeg`, or `pip install 'PyTurboJPEG<2'` with the "
                f"library (Debian and Ubuntu: `apt install libturbojpeg0`) (simplejpeg: {first}; PyTurboJPEG: "
                f"{' '.join(str(second).split())})"
            ) from second


def _simplejpeg() -> Decoder:
    import simplejpeg

    return functools.partial(simplejpeg.decode_jpeg, colorspace="RGB")


def _pyturbojpeg() -> Decoder:
    import turbojpeg

    return functools.partial(turbojpeg.TurboJPEG().decode, pixel_format=turbojpeg.TJPF_RGB)


def is_usual_jpeg(data: NDArray[np.uint8]) -> bool:
    """Whether OpenCV would deliver just what libjpeg-turbo decodes from `data`, uint8 [n].

    That is a JPEG with its end in place (what lacks it may be truncated, which not every decoder says), grey or YCbCr,
    8 bits, not turned by EXIF, of a size that OpenCV accepts. Anything unclear is no usual JPEG.
    """
    content = data.data
    if bytes(content[:2]) != _START or bytes(content[-2:]) != _END:
        return False
    position, frame = 2, False
    while position + 4 <= len(content):
        sync, marker, length = struct.unpack_from(">BBH", content, position)
        if sync != 0xFF or marker not in _SEGMENTS or length < 2:
            return False
        if marker == _SCAN:
            return frame
        segment = content[position + 4 : position + 2 + length]
        if marker in _FRAMES:
            frame = _is_usual_frame(segment)
        if marker == _APP1 and segment[:6] == _EXIF and _orientation(segment[6:]) != 1:
            return False
        position += 2 + length
    return False


def _is_usual_frame(segment: memoryview) -> bool:
    if len(segment) < 6:
        return False
    bits, height, width, components = struct.unpack_from(">BHHB", segment)
    return bits == 8 and components in (1, 3) and 0 < height * width <= _MOST_PIXELS


def _orientation(tiff: memoryview) -> int | None:
    """EXIF orientation, 1 without one, None when the data is odd."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(tiff[:4]))
    try:
        if order is None:
            return None
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, form, values, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return int(value) if (form, values) == (_SHORT, 1) else None
    except struct.error:  # points outside the segment
        return None
    return 1
