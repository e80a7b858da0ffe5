"""Published weights by the name of the architecture: fetched once, checked, kept in the user's cache folder.

This file is the only one that opens a network connection, and only `--model.weight_path=true` calls it.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from yolo.errors import UserError

BASE_URL = "https://github.com/WongKinYiu/yolov9/releases/download/v0.1"
SHA256 = {
    "yolov9-t-converted.pt": "61e080e964e65e32b884477c5e6344c607c7e02103d64649de810edaeb869803",
    "yolov9-s-converted.pt": "09bf9ca4adef37944f4406455b5b81b451c1e67307916e4702da68cda4d3e46d",
    "yolov9-m-converted.pt": "4f60eef3aca520d4a74e80d1c246c6b094ba40228f22bea13e864cd7a49c2349",
    "yolov9-c-converted.pt": "39b6b490b1e4034b4fefdcdac81380155e0a30ba6c938a9751e2c351f81a517f",
    "yolov9-e-converted.pt": "6763139daa09adfe3c694226725b460211f1f717b971bfade10a548b600716e2",
}
"""Of the released files, as recorded by people who downloaded them: t by three, c and e by two independent of each
other, s and m by one whose other three agree. A wrong one could only refuse a file."""
TIMEOUT_SECONDS = 30
CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where downloaded weights are kept: $XDG_CACHE_HOME/yolo/weights, by default ~/.cache/yolo/weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolo" / "weights"


def fetch(architecture: str) -> Path:
    """The file of published weights of a network, downloaded unless it is in the cache folder.

    An interrupted download is continued by the next call.

    Raises:
        UserError: when there are no published weights, the download fails, or the file is not the published one.
    """
    file_name = f"yolo{architecture}-converted.pt"
    if file_name not in SHA256:
        raise UserError(
            f"--model.weight_path=true: there are no published weights of {architecture}; name a file instead"
        )
    target = cache_folder() / file_name
    if target.is_file():
        if _sha256(target) != SHA256[file_name]:
            raise UserError(
                f"{target}: not the published file (sha256 differs from {SHA256[file_name]}): delete it to download it "
                "again, or name it by --model.weight_path if it is meant"
            )
        return target
    url = f"{BASE_URL}/{file_name}"
    partial = target.with_name(f"{file_name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"downloading {url} to {target}", flush=True)
        _download(url, partial)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{url} could not be downloaded ({reason}): run the command again to continue, or put the file at "
            f"{target}, or anywhere and name it by --model.weight_path=PATH"
        ) from error
    found = _sha256(partial)
    if found != SHA256[file_name]:
        partial.unlink()
        raise UserError(f"{url}: its sha256 is {found}, expected {SHA256[file_name]}; the download was deleted")
    partial.replace(target)
    return target


def _download(url: str, partial: Path) -> None:
    """Bring `partial` up to the whole file, starting from what is there. OSError when the connection ends early."""
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there already
        raise
    with response:
        continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        size = (start if continued else 0) + int(response.headers.get("Content-Length") or 0)
        with partial.open("ab" if continued else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
    if partial.stat().st_size < size:
        raise OSError(f"the connection ended after {partial.stat().st_size} of {size} bytes")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
