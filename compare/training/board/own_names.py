"""Who may ask TensorBoard: pages of this machine's own names, and no page of somebody else's that points here.

A page of a foreign site can have its own name resolved to 127.0.0.1 (DNS rebinding), and then read what a server there
answers as its own. Only the name that the browser asked for, in the Host header, gives it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# With any port: a tunnel (ssh -L) may have another one at its near end.
OWN_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
REFUSED = b"only http://localhost, http://127.0.0.1 and http://[::1] are answered here\n"


def only_own_names(application: WSGIApplication, page: str) -> WSGIApplication:
    """The application, for requests to a name of this machine's; its bare address leads to `page`, a path and a query.

    Any other name has the status 403 and one line.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not OWN_NAME.fullmatch(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(REFUSED)))])
            return [REFUSED]
        if environ.get("PATH_INFO", "/") in ("", "/") and not environ.get("QUERY_STRING"):
            start_response("302 Found", [("Location", page), ("Content-Length", "0")])
            return []
        return application(environ, start_response)

    return answer
