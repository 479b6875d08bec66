"""A receiver of webhooks: an HTTP server on a free port that answers as it is told to."""

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from types import TracebackType
from typing import NamedTuple


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What a request gets; `hold` keeps it waiting until it is set."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012, never changed
    body: bytes = b""
    hold: threading.Event | None = None


class WebhookServer:
    """Gives each request the next of some answers, and the last of them for ever."""

    def __init__(self, *answers: Answer, port: int = 0) -> None:
        self.came: Queue[Posted] = Queue()
        self._answers: Sequence[Answer] = answers or (Answer(),)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                answer = server._next()
                server.came.put(Posted(self.path, names, body))
                if answer.hold is not None:
                    answer.hold.wait(30)
                self.send_response(answer.status)
                for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, *answers: Answer) -> None:
        """From now on with these."""
        with self._lock:
            self._answers = answers

    def _next(self) -> Answer:
        with self._lock:
            first, *others = self._answers
            self._answers = others or [first]
            return first

    def __enter__(self) -> "WebhookServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
