"""A web server that misbehaves, and the table of what a client must make of each misbehaviour.

`hostile_server` serves every case under its own path, in threads, on a port of 127.0.0.1. A case writes to a socket;
one that would never end goes on until the client hangs up. `good` is what must come of it: an error's class, or a
status and the decoded length of the body.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import NamedTuple

import brotli
from backports import zstd
from fakes import ok, served_in_threads

from greenprobe.errors import (
    BodyTooLarge,
    ConnectionLost,
    DecodeError,
    EmptyReply,
    HeaderTooLarge,
    IncompleteBody,
    ProtocolError,
    ReadTimeout,
    RedirectError,
    TotalTimeout,
)

__all__ = ["CASES", "Case", "hostile_server"]

Verdict = type[Exception] | tuple[int, int]
Play = Callable[[socket], object]

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = b"<title>t</title><p>hello"
MEGABYTES = 1 << 20


class Case(NamedTuple):
    """A misbehaviour: its path, what the server does, and what must come of it."""

    name: str
    play: Play
    good: Verdict


def says(*pieces: bytes) -> Play:
    """Write these pieces and hang up."""
    return lambda sock: sock.sendall(b"".join(pieces))


def forever(first: bytes, block: bytes) -> Play:
    """Write one block after the other until the client hangs up."""

    def play(sock: socket) -> None:
        sock.sendall(first)
        for piece in repeat(block):
            sock.sendall(piece)

    return play


def drips(first: bytes, block: bytes) -> Play:
    """Write a block now and then, each time in time for a timeout that counts from the last one."""

    def play(sock: socket) -> None:
        sock.sendall(first)
        sock.settimeout(0.05)
        while True:
            sock.sendall(block)
            try:
                if not sock.recv(1):
                    return
            except TimeoutError:
                pass

    return play


def is_silent(first: bytes = b"") -> Play:
    """Write something, and then nothing, with the connection open."""

    def play(sock: socket) -> None:
        sock.sendall(first)
        sock.recv(1)

    return play


def resets(first: bytes = b"") -> Play:
    """Write something and reset the connection."""

    def play(sock: socket) -> None:
        sock.sendall(first)
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    return play


def coded(coding: str, body: bytes) -> Play:
    """Answer with a body in a coding."""
    return says(ok(body, f"Content-Encoding: {coding}"))


def moved(location: str) -> Play:
    """Redirect."""
    return says(ok(b"", f"Location: {location}", status="302 Found"))


def with_length(length: str, body: bytes = b"ab") -> Play:
    """Announce a length, whatever it is."""
    return says(HEAD + f"Content-Length: {length}\r\n\r\n".encode("latin-1") + body)


def chunks(framing: bytes) -> Play:
    """Answer in chunks that are framed like this."""
    return says(CHUNKED + framing)


def raw_deflate(data: bytes) -> bytes:
    """Return raw deflate, as servers send it that took the name at its word."""
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


def thrice(data: bytes) -> bytes:
    """Return data in three codings: deflate, then gzip, then br."""
    coded: bytes = brotli.compress(gzip.compress(zlib.compress(data)), quality=3)
    return coded


GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"
NOTHING = b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff" + b"n" * 4000 + b"\x00\x03\x00" + bytes(8)  # a name, and no data
ZSTD = HEAD + b"Content-Encoding: zstd\r\n\r\n"
DEFLATE = HEAD + b"Content-Encoding: deflate\r\n\r\n"
BR = HEAD + b"Content-Encoding: br\r\n\r\n"
ZEROS = bytes(4 * MEGABYTES)
PACKED = gzip.compress(PAGE * 100)
LONG = len(PAGE) * 100

CASES = [
    # heads
    Case("endless-headers", forever(HEAD, b"X-Filler: " + b"a" * 1000 + b"\r\n"), HeaderTooLarge),
    Case("one-endless-header", forever(HEAD + b"X: ", b"a" * 65536), HeaderTooLarge),
    Case("many-headers", says(HEAD + b"X: y\r\n" * 50_000 + b"\r\n"), HeaderTooLarge),
    Case("slow-headers", drips(HEAD, b"X"), TotalTimeout),
    Case("no-status-line", says(b"hello\r\n\r\n"), ProtocolError),
    Case("status-text", says(b"HTTP/1.1 OK 200\r\n\r\n"), ProtocolError),
    Case("status-99", says(b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n"), ProtocolError),
    Case("status-1000", says(b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n"), ProtocolError),
    Case("no-reason", says(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"), (200, 2)),
    Case("version-9", says(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), ProtocolError),
    Case("version-2", says(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), ProtocolError),
    Case("http-0.9", says(PAGE), ProtocolError),
    Case("http-1.0", says(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE), (200, len(PAGE))),
    Case("no-colon", says(HEAD + b"nonsense\r\n\r\n"), ProtocolError),
    Case("space-before-colon", says(HEAD + b"Content-Length : 2\r\n\r\nok"), ProtocolError),
    Case("folded-header", says(HEAD + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("nul-in-header", says(HEAD + b"A: b\x00c\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("bare-cr-in-header", says(HEAD + b"A: b\rC: d\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("8-bit-header", says(ok(b"ok", "A: b\xff\x9bc")), (200, 2)),
    Case("ssh-banner", is_silent(b"SSH-2.0-OpenSSH_9.2\r\n"), ProtocolError),
    # interim answers
    Case("one-103", says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok()), (200, 2)),
    Case("endless-102", forever(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 20), ProtocolError),
    Case(
        "101-unasked",
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        ProtocolError,
    ),
    Case("206-unasked", says(ok(b"ok", "Content-Range: bytes 5-6/9", status="206 P")), ProtocolError),
    Case("304-unasked", says(b"HTTP/1.1 304 Not Modified\r\n\r\n"), (304, 0)),
    # lengths
    Case("longer-than-announced", with_length("2", b"abcdef"), (200, 2)),
    Case("shorter-than-announced", with_length("100", b"abcdef"), IncompleteBody),
    Case("negative-length", with_length("-1"), ProtocolError),
    Case("signed-length", with_length("+2"), ProtocolError),
    Case("hex-length", with_length("0x2"), ProtocolError),
    Case("unicode-length", with_length("\xb2"), ProtocolError),
    Case("length-with-underscore", with_length("0_2"), ProtocolError),
    Case("length-in-words", with_length("two"), ProtocolError),
    Case("length-of-40-digits", with_length("9" * 40), ProtocolError),
    Case("two-lengths", says(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), ProtocolError),
    Case(
        "length-and-chunks",
        says(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ProtocolError,
    ),
    Case("unknown-transfer-coding", says(HEAD + b"Transfer-Encoding: foo\r\n\r\nabc"), ProtocolError),
    Case("chunked-twice", says(HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("body-on-204", says(b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc"), (204, 0)),
    # chunks
    Case("chunk-of-no-size", chunks(b"xyz\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("negative-chunk", chunks(b"-5\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("0x-chunk", chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("underscored-chunk", chunks(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), ProtocolError),
    Case("chunk-of-2-to-the-64", chunks(b"ffffffffffffffffff\r\nhello\r\n"), ProtocolError),
    Case("huge-chunk", chunks(b"fffffffffffffff\r\nhello"), IncompleteBody),
    Case("cut-chunk", chunks(b"a\r\nhello"), IncompleteBody),
    Case("no-last-chunk", chunks(b"5\r\nhello\r\n"), IncompleteBody),
    Case("chunk-without-its-end", chunks(b"5\r\nhelloXX0\r\n\r\n"), ProtocolError),
    Case("extension-and-trailer", chunks(b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"), (200, 5)),
    Case("endless-extension", forever(CHUNKED + b"5;", b"a" * 65536), HeaderTooLarge),
    Case("endless-trailers", forever(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n" * 1000), HeaderTooLarge),
    Case("tiny-chunks", chunks(b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"), (200, 20_000)),
    # too slow, too long, too short
    Case("slow-body", drips(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"), TotalTimeout),
    Case("dripping-chunks", drips(CHUNKED, b"1\r\na\r\n"), TotalTimeout),
    Case("endless-body", forever(HEAD + b"\r\n", b"x" * 65536), BodyTooLarge),
    Case("endless-chunks", forever(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), BodyTooLarge),
    Case("silence", is_silent(), ReadTimeout),
    Case("half-and-silence", is_silent(HEAD + b"Content-Length: 100\r\n\r\nhalf"), ReadTimeout),
    Case("whole-and-silence", is_silent(ok()), (200, 2)),
    Case("reset", resets(), ConnectionLost),
    Case("reset-in-the-head", resets(HEAD + b"Content-"), IncompleteBody),
    Case("reset-in-the-body", resets(HEAD + b"Content-Length: 1000\r\n\r\nhalf"), IncompleteBody),
    Case("nothing", says(), EmptyReply),
    # codings
    Case("gzip-bomb", coded("gzip", gzip.compress(ZEROS)), BodyTooLarge),
    Case("gzip-in-gzip-bomb", coded("gzip, gzip", gzip.compress(gzip.compress(ZEROS))), BodyTooLarge),
    Case("br-bomb", coded("br", brotli.compress(ZEROS, quality=3)), BodyTooLarge),
    Case("zstd-bomb", coded("zstd", zstd.compress(ZEROS)), BodyTooLarge),
    Case("deflate-bomb", coded("deflate", zlib.compress(ZEROS)), BodyTooLarge),
    Case("five-codings", coded("gzip, gzip, gzip, gzip, gzip", PACKED), DecodeError),
    Case("cut-gzip", coded("gzip", PACKED[:-9]), DecodeError),
    Case("gzip-with-wrong-sum", coded("gzip", PACKED[:-8] + bytes(8)), DecodeError),
    Case("gzip-that-is-not", coded("gzip", PAGE), DecodeError),
    Case("zstd-with-a-huge-window", coded("zstd", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(9)), DecodeError),
    Case("rubbish-behind-gzip", coded("gzip", PACKED + b"rubbish"), (200, LONG)),
    Case("two-gzip-members", coded("gzip", PACKED + PACKED), (200, 2 * LONG)),
    Case("empty-gzip", coded("gzip", b""), (200, 0)),
    Case("raw-deflate", coded("deflate", raw_deflate(PAGE)), (200, len(PAGE))),
    Case("coding-in-capitals", coded("GZIP", PACKED), (200, LONG)),
    Case("unknown-coding", coded("rot13", PAGE), (200, len(PAGE))),
    # redirects
    Case("to-itself", moved("/to-itself"), RedirectError),
    Case("to-a-file", moved("file:///etc/passwd"), RedirectError),
    Case("to-script", moved("javascript:alert(1)"), RedirectError),
    Case("to-data", moved("data:text/html,x"), RedirectError),
    Case("to-port-0", moved("http://127.0.0.1:0/"), RedirectError),
    Case("to-port-99999", moved("http://127.0.0.1:99999/"), RedirectError),
    Case("to-a-broken-address", moved("http://[::1/"), RedirectError),
    Case("to-nowhere", moved(""), (302, 0)),
    Case("to-crlf", moved("/good?%0d%0aX:%20y"), (200, 2)),
    Case("to-latin-1", moved("/good?\xe9\xff"), (200, 2)),
    Case("to-spaces", moved("/good?a b\tc"), (200, 2)),
    Case("to-a-megabyte", moved("/" + "a" * MEGABYTES), HeaderTooLarge),
    Case(
        "with-an-endless-body",
        forever(HEAD.replace(b"200", b"302") + b"Location: /good\r\n\r\n", b"x" * 65536),
        (200, 2),
    ),
    # heads, again
    Case("nul-in-a-name", says(HEAD + b"A\x00B: c\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("empty-name", says(HEAD + b": v\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("8-bit-name", says(HEAD + b"X\xff: v\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("endless-status-line", forever(b"HTTP/1.1 200 ", b"a" * 65536), HeaderTooLarge),
    Case("status-line-of-a-megabyte", says(b"HTTP/1.1 200 " + b"a" * MEGABYTES + b"\r\n\r\n"), HeaderTooLarge),
    Case("lower-case-version", says(b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("icy", says(b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("two-spaces-before-the-status", says(b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("reason-glued-to-the-status", says(b"HTTP/1.1 200OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("status-000", says(b"HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("lf-only", says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), ProtocolError),
    Case("cr-only", says(b"HTTP/1.1 200 OK\rContent-Length: 2\r\rok"), ProtocolError),
    Case("endless-blank-lines", forever(b"", b"\r\n" * 10_000), HeaderTooLarge),
    # interim answers, again
    Case("a-megabyte-of-103", says(b"HTTP/1.1 103 E\r\nX: %b\r\n\r\n" % (b"a" * 10_000) * 99 + ok()), HeaderTooLarge),
    Case("103-with-a-body", says(b"HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\nhello" + ok()), ProtocolError),
    Case("103-and-nothing", says(b"HTTP/1.1 103 E\r\n\r\n"), IncompleteBody),
    # lengths, again
    Case("two-equal-lengths", says(HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("list-of-lengths", with_length("2, 2"), ProtocolError),
    Case("one-byte-short", with_length("3"), IncompleteBody),
    Case("one-byte-long", with_length("1"), (200, 1)),
    Case("no-length", with_length(""), ProtocolError),
    Case("length-with-zeros", with_length("002"), (200, 2)),
    Case("length-of-2-to-the-63", with_length(str((1 << 63) - 1)), IncompleteBody),
    Case("length-with-a-space", with_length("1 2"), ProtocolError),
    Case("second-answer-behind-a-length", says(ok() + ok(b"evil")), (200, 2)),
    # chunks, again
    Case("capital-chunked", says(HEAD + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), (200, 5)),
    Case("gzip-and-chunked", says(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("chunked-and-gzip", says(HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("vertical-tab-chunked", says(HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("two-transfer-encodings", says(CHUNKED[:-2] + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("chunked-in-1.0", says(CHUNKED.replace(b"1.1", b"1.0") + b"5\r\nhello\r\n0\r\n\r\n"), (200, 5)),
    Case("extensions-without-end", forever(CHUNKED, b"1;" + b"a" * 5000 + b"\r\nx\r\n"), HeaderTooLarge),
    Case("endless-chunk-size", forever(CHUNKED, b"0" * 65536), HeaderTooLarge),
    Case("second-answer-behind-chunks", chunks(b"5\r\nhello\r\n0\r\n\r\n" + ok(b"evil")), (200, 5)),
    Case("nul-in-a-trailer", chunks(b"0\r\nA: \x00\r\n\r\n"), ProtocolError),
    # codings, again
    Case("cut-br", coded("br", brotli.compress(PAGE * 100)[:-3]), DecodeError),
    Case("cut-zstd", coded("zstd", zstd.compress(PAGE * 100)[:-3]), DecodeError),
    Case("br-that-is-not", coded("br", PAGE), DecodeError),
    Case("zstd-that-is-not", coded("zstd", PAGE), DecodeError),
    Case("rubbish-behind-br", coded("br", brotli.compress(PAGE * 100) + b"rubbish"), DecodeError),
    Case("rubbish-behind-zstd", coded("zstd", zstd.compress(PAGE * 100) + b"rubbish"), DecodeError),
    Case("two-zstd-frames", coded("zstd", zstd.compress(PAGE) * 2), (200, 2 * len(PAGE))),
    Case("three-codings", coded("deflate, gzip, br", thrice(PAGE)), (200, len(PAGE))),
    Case("bomb-in-three-codings", coded("deflate, gzip, br", thrice(ZEROS)), BodyTooLarge),
    Case("gzip-with-an-endless-name", forever(GZIP + b"\x1f\x8b\x08\x08" + bytes(6), b"a" * 65536), BodyTooLarge),
    Case("empty-gzip-members-without-end", forever(GZIP, NOTHING * 100), BodyTooLarge),
    Case("skipped-zstd-without-end", forever(ZSTD, b"\x50\x2a\x4d\x18\x00\x10\x00\x00" + bytes(4096)), BodyTooLarge),
    Case("coding-without-a-name", coded(",", PAGE), (200, len(PAGE))),
    Case("coded-204", says(b"HTTP/1.1 204 No\r\nContent-Encoding: gzip\r\n\r\n"), (204, 0)),
    # redirects, again
    Case("to-64-kB", moved("/good?" + "a" * 65_000), (200, 2)),
    Case("to-a-control-character", moved("/good\x01"), ProtocolError),
    Case("to-itself-by-a-fragment", moved("#there"), RedirectError),
    Case("to-two-places", says(ok(b"", "Location: /good", "Location: file:///x", status="302 Found")), (200, 2)),
    Case("to-far-above", moved("/../../good"), (200, 2)),
    Case("to-ftp", moved("ftp://127.0.0.1/"), RedirectError),
    Case("to-no-host", moved("http:///x"), RedirectError),
    Case("to-a-long-name", moved(f"http://{'a' * 300}/"), RedirectError),
    Case("to-a-name-that-is-none", moved("http://a b/"), RedirectError),
    Case("300-and-a-location", says(ok(b"ok", "Location: /good", status="300 Many")), (300, 2)),
    Case("cookie-of-60-kB", says(ok(b"ok", "Set-Cookie: a=" + "b" * 60_000)), (200, 2)),
    # what a record is made of
    Case("401-for-ever", says(ok(b"", 'WWW-Authenticate: Digest , ="', status="401 No")), (401, 0)),
    Case("retry-after-for-ever", says(ok(b"", "Retry-After: 999999999", status="503 No")), (503, 0)),
    Case("2000-cookies", says(ok(b"ok", *(f"Set-Cookie: c{n}=v" for n in range(2000)))), (200, 2)),
    # heads, once more
    Case("byte-order-mark", says(b"\xef\xbb\xbf" + ok()), ProtocolError),
    Case("blank-line-first", says(b"\r\n" + ok()), (200, 2)),
    Case("tabs-in-the-status-line", says(b"HTTP/1.1\t200\tOK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("version-1.2", says(b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("status-600", says(ok(b"ok", status="600 X")), (600, 2)),
    Case("8-bit-reason", says(b"HTTP/1.1 200 \xff\x1b[2J\r\nContent-Length: 2\r\n\r\nok"), (200, 2)),
    Case("50-kB-of-spaces", says(ok(b"ok", "X: " + " " * 50_000 + "y")), (200, 2)),
    Case("a-name-of-50-kB", says(ok(b"ok", "x" * 50_000 + ": y")), (200, 2)),
    Case("close-a-thousand-times", says(ok(b"ok", "Connection: " + ", ".join(["close"] * 1000))), (200, 2)),
    Case("200-and-upgrade", says(ok(b"ok", "Upgrade: h2c", "Connection: Upgrade")), (200, 2)),
    Case("tls-alert", says(b"\x15\x03\x01\x00\x02\x02\x0a"), ProtocolError),
    Case("http-2-settings", says(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80"), ProtocolError),
    Case("zeros", says(bytes(1000)), ProtocolError),
    Case("one-byte", says(b"H"), IncompleteBody),
    Case("half-a-status-line", says(b"HTTP/1.1 20"), IncompleteBody),
    Case("100-and-silence", is_silent(b"HTTP/1.1 100 Continue\r\n\r\n"), ReadTimeout),
    Case("407-of-no-proxy", says(ok(b"no", "Proxy-Authenticate: Basic", status="407 P")), (407, 2)),
    Case("206-without-a-range", says(ok(b"ok", status="206 P")), ProtocolError),
    # lengths, once more
    Case("tabs-around-the-length", with_length("\t2\t", b"ok"), (200, 2)),
    Case("length-with-a-parameter", with_length("2;x"), ProtocolError),
    Case("length-with-a-comma", with_length("2,"), ProtocolError),
    Case("length-in-wide-digits", with_length("\xef\xbc\x92"), ProtocolError),
    Case(
        "identity-transfer", says(HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"), ProtocolError
    ),
    Case("chunked-and-a-comma", says(HEAD + b"Transfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n"), ProtocolError),
    Case("chunked-with-a-parameter", says(HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), ProtocolError),
    Case("no-transfer-coding", says(HEAD + b"Transfer-Encoding: \r\nContent-Length: 2\r\n\r\nok"), ProtocolError),
    Case("chunks-on-304", says(b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), (304, 0)),
    Case("kept-in-1.0-without-a-length", says(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nabc"), (200, 3)),
    Case("more-behind-a-close", says(ok(b"ok", "Connection: close") + b"x" * 100), (200, 2)),
    Case(
        "redirect-that-breaks-off",
        says(HEAD.replace(b"200", b"303") + b"Location: /good\r\nContent-Length: 9\r\n\r\n"),
        IncompleteBody,
    ),
    # chunks, once more
    Case("space-before-a-size", chunks(b" 5\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("space-behind-a-size", chunks(b"5 \r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("chunk-without-a-size", chunks(b"\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("lf-in-an-extension", chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("cr-in-an-extension", chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("lf-behind-a-size", chunks(b"5\nhello\r\n0\r\n\r\n"), ProtocolError),
    Case("lf-behind-a-chunk", chunks(b"5\r\nhello\n0\r\n\r\n"), ProtocolError),
    Case("last-chunk-of-zeros", chunks(b"5\r\nhello\r\n0000\r\n\r\n"), (200, 5)),
    Case("last-chunk-without-its-end", chunks(b"5\r\nhello\r\n0\r\n"), IncompleteBody),
    Case("length-in-a-trailer", chunks(b"5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n"), ProtocolError),
    Case("location-in-a-trailer", says(CHUNKED.replace(b"200", b"302") + b"0\r\nLocation: /good\r\n\r\n"), (302, 0)),
    # codings, once more
    Case("identity", coded("identity", PAGE), (200, len(PAGE))),
    Case("x-gzip", coded("x-gzip", PACKED), (200, LONG)),
    Case("coding-with-a-parameter", coded("gzip;q=1", PACKED), (200, len(PACKED))),
    Case("half-a-gzip-head", coded("gzip", PACKED[:7]), DecodeError),
    Case("gzip-with-reserved-flags", coded("gzip", PACKED[:3] + b"\xe0" + PACKED[4:]), DecodeError),
    Case("gzip-with-wrong-length", coded("gzip", PACKED[:-4] + b"\1\0\0\0"), DecodeError),
    Case("deflate-with-wrong-sum", coded("deflate", zlib.compress(PAGE)[:-4] + bytes(4)), DecodeError),
    Case("deflate-with-a-dictionary", coded("deflate", b"\x78\xbb\x1a\x0b\x04\x5d\x4b\xcb"), DecodeError),
    Case("empty-deflate-without-end", forever(DEFLATE + b"\x78\x9c", b"\0\0\0\xff\xff" * 5000), BodyTooLarge),
    Case("skipped-br-without-end", forever(BR + b"\x0c", b"\x06" * 50_000), BodyTooLarge),
    Case("zstd-with-a-dictionary", coded("zstd", b"\x28\xb5\x2f\xfd\x23\xff\xff\xff\xff\5\x29\0\0hello"), DecodeError),
    Case(
        "zstd-that-lies-of-its-size",
        coded("zstd", b"\x28\xb5\x2f\xfd\xe0" + bytes(7) + b"\x10\x29\0\0hello"),
        DecodeError,
    ),
    # redirects, once more
    Case("to-backslashes", moved("\\good"), (200, 2)),
    Case("to-10000-dots", moved("/" + "../" * 10_000 + "good"), (200, 2)),
    Case("to-nul", moved("/good\x00"), ProtocolError),
    Case("to-del", moved("/good?\x7f"), ProtocolError),
    Case("to-a-query", moved("?x"), RedirectError),
    Case("308-to-nowhere", says(ok(b"ok", status="308 P")), (308, 2)),
    Case("retry-after-in-arabic", says(ok(b"", "Retry-After: \xd9\xa1", status="503 No")), (503, 0)),
    Case(
        "retry-after-in-99999", says(ok(b"", "Retry-After: Fri, 31 Dec 99999 23:59:59 GMT", status="503 No")), (503, 0)
    ),
    Case("good", says(ok(b"ok")), (200, 2)),
]
PLAYS = {f"/{case.name}": case.play for case in CASES} | {"/warm": says(ok(b"ok"))}


@contextmanager
def hostile_server() -> Iterator[int]:
    """Serve all cases; every connection is one thread and one answer, or more if it begins with /warm."""
    socks: list[socket] = []

    def converse(sock: socket) -> None:
        socks.append(sock)
        answer(sock)

    with served_in_threads(converse, socks) as port:
        yield port


def answer(sock: socket) -> None:
    """Read a request, as far as it matters, and misbehave; after an answer to /warm, once more."""
    path = "/warm"
    with sock:
        try:
            while path == "/warm":
                request = b""
                while b"\r\n\r\n" not in request:
                    received = sock.recv(65536)
                    if not received:
                        return
                    request += received
                path = request.split(b" ")[1].partition(b"?")[0].decode("latin-1")
                PLAYS[path](sock)
        except OSError:
            pass  # the client has had enough
