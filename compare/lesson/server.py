"""The page on loopback: one address with one page, and nothing else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from compare.training.board.server import HOST, refused


def launch(html: str, port: int) -> str:
    """Serve the page in a thread, to this machine only; the address to open.

    Raises:
        UserError: if it cannot listen on `port`; 0 takes one that is free.
    """
    content = html.encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in ("/", "/index.html")
            body = content if found else b"there is one page here: /\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8" if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")  # the next lesson may have the same address
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody wants to read of every request."""

    try:
        server = ThreadingHTTPServer((HOST, port), Page)
    except OSError as error:
        raise refused(port, error) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://localhost:{server.server_port}/"
