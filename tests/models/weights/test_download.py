from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo.errors import UserError
from yolo.models.registry import MODELS
from yolo.models.weights import download
from yolo.models.weights.download import cache_folder, fetch

CONTENT = bytes(range(256)) * 8192  # 2 MiB, two chunks
FILE = "yolov9-t-converted.pt"


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT in whole or from a byte on; may lie about it, break off or not know ranges."""

    content = CONTENT
    break_after: int | None = None
    knows_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if not self.path.endswith(FILE):
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.server.knows_ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{server.server_port}/v0.1")
    monkeypatch.setitem(download.SHA256, FILE, hashlib.sha256(CONTENT).hexdigest())
    yield server
    server.shutdown()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_once_into_the_cache_folder(server: Server, tmp_path: Path) -> None:
    path = fetch("v9-t")
    assert path == tmp_path / "yolo" / "weights" / FILE
    assert path.read_bytes() == CONTENT
    assert fetch("v9-t") == path
    assert server.ranges == [None]
    assert names(path.parent) == [FILE]


def test_continues_where_an_interrupted_one_ended(server: Server) -> None:
    server.break_after = 1000
    with pytest.raises(UserError, match=rf"the connection ended after 1000 of {len(CONTENT)} bytes.*again to continue"):
        fetch("v9-t")
    assert names(cache_folder()) == [f"{FILE}.partial"]
    server.break_after = None
    assert fetch("v9-t").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]
    assert names(cache_folder()) == [FILE]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_starts_over_where_ranges_are_unknown_and_takes_what_is_complete(server: Server, knows_ranges: bool) -> None:
    server.knows_ranges = knows_ranges
    cache_folder().mkdir(parents=True)
    (cache_folder() / f"{FILE}.partial").write_bytes(CONTENT)
    assert fetch("v9-t").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_another_file_than_the_published_one_is_refused_and_removed(server: Server) -> None:
    server.content = CONTENT[::-1]
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(UserError, match=f"its sha256 is {found}, expected {download.SHA256[FILE]}"):
        fetch("v9-t")
    assert names(cache_folder()) == []


def test_another_file_in_the_cache_is_refused_and_kept(server: Server) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / FILE).write_bytes(b"mine")
    with pytest.raises(UserError, match="not the published file"):
        fetch("v9-t")
    assert (cache_folder() / FILE).read_bytes() == b"mine"
    assert server.ranges == []


def test_offline_says_which_file_to_put_where(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BASE_URL", "http://127.0.0.1:1/v0.1")
    with pytest.raises(UserError) as error:
        fetch("v9-t")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert f"http://127.0.0.1:1/v0.1/{FILE} could not be downloaded" in sentence
    assert f"put the file at {tmp_path / 'yolo' / 'weights' / FILE}" in sentence
    assert "--model.weight_path=PATH" in sentence


def test_a_file_that_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"yolov9-s-converted\.pt could not be downloaded \(Not Found\)"):
        fetch("v9-s")


def test_every_network_has_published_weights_and_others_have_none() -> None:
    assert set(download.SHA256) == {f"yolo{name}-converted.pt" for name in MODELS}
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in download.SHA256.values())
    with pytest.raises(UserError, match=r"no published weights of my\.Network"):
        fetch("my.Network")


def test_default_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "yolo" / "weights"
