"""A browser's DevTools socket: calls and their answers, events by session.

One greenthread reads; who calls waits for the answer with its number. When the socket ends, everybody who waits is
told. Source: https://chromedevtools.github.io/devtools-protocol.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from greenprobe.errors import RenderError
from greenprobe.greenthread import spawn
from greenprobe.lazy import Lazy
from greenprobe.outcome import AsyncResult

__all__ = ["DevTools", "Listener", "Params", "check_socket"]

websocket = Lazy("greenprobe.websocket")

MAX_MESSAGE_BYTES: Final = 64 << 20
Params = dict[str, Any]
Listener = Callable[[str, Params], object]  # gets the name and the values of an event; must not wait


def check_socket() -> None:
    """Raise RenderError if there is no library for WebSockets."""
    try:
        websocket.connect  # noqa: B018 - looking it up loads it
    except ImportError as exc:
        raise RenderError("--render needs the package wsproto: pip install 'greenprobe[render]'") from exc


class DevTools:
    """An open socket. Raises OSError if it cannot be opened."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.connect(url, compression=False, max_message_bytes=MAX_MESSAGE_BYTES, ping_after=None)
        self._number = 0
        self._waiting: dict[int, AsyncResult[Params]] = {}
        self._listeners: dict[str, Listener] = {}
        self._reader = spawn(self._read)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self._reader.dead

    def call(self, method: str, params: Params | None = None, *, session: str = "") -> Params:
        """Return the answer to a command. Raises RenderError if the browser refuses it, or is gone."""
        return self.begin(method, params, session=session).wait()

    def begin(self, method: str, params: Params | None = None, *, session: str = "") -> AsyncResult[Params]:
        """Send a command and return what its answer will be."""
        if not self.is_open:
            raise RenderError("the browser is gone")
        self._number += 1
        outcome = self._waiting[self._number] = AsyncResult[Params]()
        message: Params = {"id": self._number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        try:
            self._socket.send(orjson.dumps(message).decode())
        except Exception as exc:
            self._waiting.pop(self._number, None)
            raise RenderError(f"the browser is gone: {exc}") from exc
        return outcome

    def listen(self, session: str, listener: Listener | None) -> None:
        """Have the events of a session go to a listener; None for nobody."""
        if listener is None:
            self._listeners.pop(session, None)
        else:
            self._listeners[session] = listener

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(timeout=0)
        self._reader.kill()

    def _read(self) -> None:
        try:
            for text in self._socket:
                self._take(orjson.loads(text))
        finally:
            waiting, self._waiting = self._waiting, {}
            for outcome in waiting.values():
                outcome.set_exception(RenderError("the browser ended"))

    def _take(self, message: Params) -> None:
        if "id" not in message:
            listener = self._listeners.get(message.get("sessionId", ""))
            if listener is not None:
                listener(message["method"], message["params"])
            return
        outcome = self._waiting.pop(message["id"], None)
        if outcome is None:
            return
        if "error" in message:
            outcome.set_exception(RenderError(f"the browser says: {message['error'].get('message', 'error')}"))
        else:
            outcome.set(message["result"])
