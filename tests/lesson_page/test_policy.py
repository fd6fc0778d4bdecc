"""Nothing leaves the page."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_policy_forbids_whatever_would_leave_the_page(browser: Browser, address: str) -> None:
    expected = {"img-src", "script-src-elem", "style-src-elem", "frame-src", "media-src", "object-src", "form-action"}
    expected |= {"connect-src", "font-src"}
    attempts = """async ([base, expected]) => {
        const refused = [];
        document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
        const add = (name, values) => document.body.append(Object.assign(document.createElement(name), values));
        const target = document.createElement("iframe");
        target.name = "target";
        document.body.append(target);
        add("img", { src: base + "/img" });
        add("script", { src: base + "/script" });
        add("link", { rel: "stylesheet", href: base + "/style" });
        add("iframe", { src: base + "/frame" });
        add("audio", { src: base + "/audio" });
        add("object", { data: base + "/object" });
        const form = Object.assign(document.createElement("form"), { action: base + "/form", target: "target" });
        document.body.append(form);
        form.submit();
        fetch(base + "/fetch").catch(() => {});
        try { new WebSocket(base.replace("http", "ws")); } catch {}
        navigator.sendBeacon(base + "/beacon", "x");
        const font = new FontFace("other", `url(${base}/font)`);
        font.load().catch(() => {});
        try { new Worker(base + "/worker"); } catch {}
        const wait = () => new Promise(done => setTimeout(done, 100));
        for (let n = 0; n < 600 && !expected.every(one => refused.includes(one)); n++) await wait();
        for (let n = 0; n < 7; n++) await wait(); // for what should not arrive at the server
        return refused;
    }"""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                # Chromium may connect before it knows whether it may ask; what counts is what it sends.
                with connection, suppress(OSError):
                    connection.settimeout(0.2)
                    asked.extend(filter(None, [connection.recv(100)]))

        threading.Thread(target=listen, daemon=True).start()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(address)
            refused = page.evaluate(attempts, [f"http://127.0.0.1:{server.getsockname()[1]}", sorted(expected)])
        server.shutdown(socket.SHUT_RDWR)
    assert asked == []
    assert set(refused) >= expected


def test_the_policy_comes_before_whatever_could_ask(html: str) -> None:
    head = html[: html.index("Content-Security-Policy")]
    assert set(re.findall(r"<([a-z]+)", head)) <= {"html", "head", "meta"}
