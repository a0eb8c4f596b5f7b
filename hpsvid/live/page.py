"""A page for a browser that shows the running picture, and the newest pose for programs.

`/` the page, `/stream.mjpg` the pictures, `/frame.jpg` the newest one, `/status.json` the numbers,
`/motion.json` the newest poses, `/motion.jsonl` a line for each frame as it comes. A client that
reads slowly misses frames and delays no other. The page loads nothing from other addresses, and
pages of other sites get nothing from here.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from hpsvid.common.templating import render
from hpsvid.common.threads import Newest
from hpsvid.errors import InputError
from hpsvid.live.picture import Picture

FIRST_PICTURE_S = 10.0  # how long a request waits for it
CLIENT_TIMEOUT_S = 10.0  # a browser that takes nothing for so long is let go
REQUEST_TIMEOUT_S = 5.0  # for the whole head of a request
MAX_REQUEST_BYTES = 16 << 10  # of a head; browsers send about 1 kB
MAX_CLIENTS = 64  # connections at a time, each with a thread
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
        server.host = host.lower()
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
    """Serves up to MAX_CLIENTS at a time; clients that have not asked yet make room for others."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CLIENTS
    host = ""  # as the user gave it

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(MAX_CLIENTS)
        self.silent: dict[socket.socket, None] = {}  # clients that have not asked yet, oldest first
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a client in a thread of its own, or turn it away."""
        if not self._free.acquire(blocking=False):
            with suppress(OSError, StopIteration, RuntimeError):  # it has just asked, or gone
                oldest = next(iter(self.silent))
                self.silent.pop(oldest, None)
                oldest.shutdown(socket.SHUT_RDWR)
            if not self._free.acquire(timeout=0.1):
                with suppress(OSError):
                    request.send(b"HTTP/1.0 503 Too many clients\r\n\r\n")
                self.shutdown_request(request)
                return
        self.silent[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.silent.pop(request, None)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients come and go as they like."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    pictures: Newest[Picture]
    page: bytes
    timeout = CLIENT_TIMEOUT_S

    def setup(self) -> None:
        """Take the request's head whole, within its time and size, before it is looked at."""
        super().setup()
        self.rfile.close()
        self.rfile = BytesIO(self._request())
        self.server.silent.pop(self.connection, None)

    def _request(self) -> bytes:
        """A request up to its empty line; nothing when it comes too slowly or is too long."""
        until = time.monotonic() + REQUEST_TIMEOUT_S
        head = b""
        with suppress(OSError):
            while len(head) <= MAX_REQUEST_BYTES and (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                piece = self.connection.recv(4096)
                head += piece
                if b"\r\n\r\n" in head or b"\n\n" in head:
                    self.connection.settimeout(CLIENT_TIMEOUT_S)
                    return head
                if not piece:
                    break
        return b""

    def _refusal(self) -> str | None:
        """Why this request is none of the page's own or of a program's; None: it may be answered.

        A name in Host that is not this machine's is how another site's page gets its browser to
        ask here (DNS rebinding); browsers say in Origin and Sec-Fetch-Site who asks.
        """
        host = self.headers.get("Host")
        own = {"localhost", "127.0.0.1", "::1", socket.gethostname().lower(), self.server.host}
        own.add(self.connection.getsockname()[0].removeprefix("::ffff:"))
        if host is not None and _host_name(host) not in own:
            return "unknown Host; open the address that hpsvid printed"
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return "asked by the page of another site"
        opened = self.path == "/" and self.headers.get("Sec-Fetch-Dest") == "document"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not opened:
            return "asked by the page of another site"
        return None

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
            if refusal := self._refusal():
                self.send_error(403, refusal)
            elif answer is None:
                self.send_error(404)
            else:
                answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _head(self, kind: str, length: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
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


def _host_name(host: str) -> str:
    """The name or number in a Host header, without port and brackets."""
    match = re.fullmatch(r"\[([^]]*)\](?::\d*)?|([^:]*)(?::\d*)?", host.strip().lower())
    return "" if match is None else match[1] or match[2] or ""


def _part(picture: Picture) -> bytes:
    """One picture of the stream and the border after it, without which browsers show it late."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return head.encode() + picture.jpeg + b"\r\n" + BORDER
