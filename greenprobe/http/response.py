"""Answers for scripts: a whole one in memory, and one whose body is read as it comes."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import orjson

from greenprobe.errors import BrokenResourceError, DecodeError, GreenprobeError
from greenprobe.greenthread import spawn
from greenprobe.http.charset import decode_text, find_charset
from greenprobe.http.decoding import Sink
from greenprobe.http.exchange import OpenSink
from greenprobe.http.trace import Trace
from greenprobe.outcome import AsyncResult
from greenprobe.queue import Queue

__all__ = ["Response", "StatusError", "StreamedResponse"]

PIECES_AHEAD: Final = 2  # of 64 KiB; who reads slowly slows the server down, not our memory


class StatusError(GreenprobeError):
    """An answer says that it is an error, 4xx or 5xx; raised by `raise_for_status` alone."""


class Answer:
    """What a whole and a streamed answer have in common: all that is known when the head is there."""

    __slots__ = ("trace",)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    @property
    def status(self) -> int:
        """The status code."""
        return self.trace.status or 0

    @property
    def ok(self) -> bool:
        """Tell whether the status is below 400."""
        return self.status < 400

    @property
    def url(self) -> str:
        """Where the redirects have led."""
        return self.trace.url.text

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name, several of one name joined by commas; `trace.headers` has them apart."""
        return {name: ", ".join(values) for name, values in self.trace.headers.items()}

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a header, in any case."""
        values = self.trace.headers.get(name.lower())
        return values[0] if values else default

    def raise_for_status(self) -> None:
        """Raise StatusError for 4xx and 5xx."""
        if not self.ok:
            raise StatusError(f"{self.url} answered {self.status}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} of {self.url}>"


class Response(Answer):
    """An answer with its whole body, decoded, in `content`."""

    __slots__ = ("content",)

    def __init__(self, trace: Trace, content: bytes) -> None:
        super().__init__(trace)
        self.content = content

    @property
    def charset(self) -> str:
        """The codec that `text` uses: by byte order mark, header, meta element, or guessed."""
        return find_charset(self.content, self.header("content-type"))

    @property
    def text(self) -> str:
        """The body as text; what cannot be decoded becomes the replacement character."""
        return decode_text(self.content, self.header("content-type"))

    def json(self) -> Any:
        """Return the body read as JSON; raises DecodeError if it is none."""
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError as exc:
            raise DecodeError(f"the body of {self.url} is not JSON: {exc}") from exc


class StreamedResponse(Answer):
    """An answer whose body comes piece by piece: iterate over it, inside `with`. Made by `Client.stream`.

    A greenthread receives while you work, a few pieces ahead of you. Leaving the block before the end closes the
    connection. What goes wrong in the middle is raised where you iterate.
    """

    __slots__ = ("_failure", "_head", "_pieces", "_receiver")

    def __init__(self, trace: Trace, fetch: Callable[[OpenSink], None]) -> None:
        """Begin `fetch` and wait for the head of the answer; raises what it raises before that."""
        super().__init__(trace)
        self._failure: Exception | None = None
        self._pieces: Queue[bytes] = Queue(PIECES_AHEAD)
        self._head: AsyncResult[None] = AsyncResult()
        self._receiver = spawn(self._receive, fetch)
        try:
            self._head.wait()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop receiving. A second call does nothing."""
        self._receiver.kill()
        self._receiver.join()

    def _receive(self, fetch: Callable[[OpenSink], None]) -> None:
        try:
            fetch(self._open)
        except Exception as exc:
            self._failure = exc
            if not self._head.ready():
                self._head.set_exception(exc)
        finally:
            if not self._head.ready():
                self._head.set_exception(BrokenResourceError("the fetch was ended before it had an answer"))
            self._pieces.shutdown()

    def _open(self, trace: Trace) -> Sink:
        self._head.set(None)
        return self._take

    def _take(self, piece: bytes) -> None:
        if piece:
            self._pieces.put(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
