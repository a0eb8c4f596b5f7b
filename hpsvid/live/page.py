"""A page for a browser that shows the running picture, and the newest pose for programs.

`/` the page, `/stream.mjpg` the pictures, `/frame.jpg` the newest one, `/status.json` the numbers,
`/motion.json` the newest poses, `/motion.jsonl` a line for each frame as it comes. Whoever reads
slowly misses frames and holds up nobody. No other address is asked for anything.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any

from hpsvid.common.templating import render
from hpsvid.common.threads import Newest
from hpsvid.errors import InputError
from hpsvid.live.picture import Picture

FIRST_PICTURE_S = 10.0  # how long a request waits for it
CLIENT_TIMEOUT_S = 10.0  # a browser that takes nothing for so long is let go
BOUNDARY = "hpsvid-frame"
BORDER = f"--{BOUNDARY}\r\n".encode()


def parse_address(text: str) -> tuple[str, int]:
    """[HOST:]PORT; without a host only this machine is served. Raises InputError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (":" in text and not host):
        raise InputError(f"--serve {text}: expected [HOST:]PORT, such as 8000 or 0.0.0.0:8000")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def serving(address: tuple[str, int], pictures: Newest[Picture]) -> Iterator[str]:
    """Serve the page until the block ends; gives its URL. Port 0 takes a free one.

    Raises InputError when the address cannot be had.
    """
    page = render("hpsvid.live", "live.html").encode()
    handler = type("Handler", (_Handler,), {"pictures": pictures, "page": page})
    host, port = address
    try:
        server = (_Server6 if ":" in host else _Server)(address, handler)
    except OSError as error:
        raise InputError(
            f"--serve {host}:{port}: cannot be had ({error.strerror}); choose another"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="page", daemon=True)
    thread.start()
    host = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{host}:{server.server_port}/"
    finally:
        pictures.close()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    pictures: Newest[Picture]
    page: bytes
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer one request."""
        answers: dict[str, Callable[[], None]] = {
            "/": lambda: self._whole("text/html; charset=utf-8", self.page),
            "/frame.jpg": lambda: self._newest("image/jpeg", lambda p: p.jpeg),
            "/motion.json": lambda: self._newest("application/json", lambda p: p.pose),
            "/status.json": lambda: self._newest("application/json", lambda p: p.status),
            "/stream.mjpg": lambda: self._stream(
                f"multipart/x-mixed-replace; boundary={BOUNDARY}", _part, BORDER
            ),
            "/motion.jsonl": lambda: self._stream("application/jsonl", lambda p: p.pose + b"\n"),
        }
        answer = answers.get(self.path.partition("?")[0])
        with suppress(ConnectionError):  # the browser has gone
            if answer is None:
                self.send_error(404)
            else:
                answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _head(self, kind: str, length: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _whole(self, kind: str, content: bytes) -> None:
        self._head(kind, len(content))
        self.wfile.write(content)

    def _newest(self, kind: str, content: Callable[[Picture], bytes]) -> None:
        _, picture = self.pictures.after(0, FIRST_PICTURE_S)
        if picture is None:
            self.send_error(503, "no picture yet")
        else:
            self._whole(kind, content(picture))

    def _stream(self, kind: str, content: Callable[[Picture], bytes], first: bytes = b"") -> None:
        self._head(kind, None)
        self.wfile.write(first)
        last = 0
        while True:
            last, picture = self.pictures.after(last, CLIENT_TIMEOUT_S)
            if picture is not None:
                self.wfile.write(content(picture))
            elif self.pictures.closed:
                return


def _part(picture: Picture) -> bytes:
    """One picture of the stream and the border after it, without which browsers show it late."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return head.encode() + picture.jpeg + b"\r\n" + BORDER
