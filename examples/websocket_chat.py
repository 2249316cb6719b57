"""A chat for browsers: a page, and a WebSocket that carries what each writes to all others.

    python examples/websocket_chat.py 127.0.0.1:7005
    open http://127.0.0.1:7005/ in two windows

A member that reads nothing holds the others up until its WebSocket times out; `chat_server.py` has a queue for each.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from greenprobe import BrokenResourceError, ClosedResourceError
from greenprobe.websocket import WebSocket, WebSocketApp
from greenprobe.wsgi import Server

PAGE = b"""<!doctype html><title>greenprobe chat</title>
<form><input autofocus autocomplete=off> <button>say</button></form><pre></pre>
<script>
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "chat")
socket.onmessage = event => document.querySelector("pre").append(event.data + "\\n")
document.querySelector("form").onsubmit = event => {
  event.preventDefault()
  const input = document.querySelector("input")
  socket.send(input.value)
  input.value = ""
}
</script>
"""

members: set[WebSocket] = set()


def chat(websocket: WebSocket, environ: dict[str, Any]) -> None:
    """Serve one member."""
    members.add(websocket)
    try:
        for message in websocket:
            for member in list(members):
                try:
                    member.send(message)
                except (ClosedResourceError, BrokenResourceError):
                    members.discard(member)
    finally:
        members.discard(websocket)


websockets = WebSocketApp(chat, max_message_bytes=10_000)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Be the application."""
    if environ["PATH_INFO"] == "/chat":
        return websockets(environ, start_response)
    if environ["PATH_INFO"] != "/":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here\n"]
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE]


def main(place: str) -> None:
    host, _, port = place.rpartition(":")
    server = Server((host, int(port)), app)
    server.start()
    print(f"chatting at http://{host}:{server.address[1]}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7005")
