"""Pages that are made to hurt a crawler, and what must come of each."""

import gzip
from collections.abc import Callable
from typing import Final, NamedTuple

from fakes import ok

__all__ = ["HREFS", "PAGES", "HostilePage", "served"]

MB: Final = 1 << 20
HTML: Final = "Content-Type: text/html; charset=utf-8"
XML: Final = "Content-Type: application/xml"
CSS: Final = "Content-Type: text/css"


class HostilePage(NamedTuple):
    """A page: what the server says, how many of its links are told, and the class of the error if there is one."""

    path: str
    answer: Callable[[], bytes]
    links: int = 0
    error: str | None = None


def html(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """Return what makes an answer of an HTML body."""
    return lambda: ok(make(), HTML)


def moved(location: str) -> Callable[[], bytes]:
    """Return what makes a redirect."""
    return lambda: ok(b"", f"Location: {location}", status="302 Found")


def sitemap(*urls: str) -> bytes:
    """Return an index of sitemaps."""
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<?xml version='1.0'?><sitemapindex>{entries}</sitemapindex>".encode()


def bomb() -> bytes:
    """Return 200 MB of sitemap in 200 kB."""
    entry = b"<url><loc>/bombed</loc></url>"
    return gzip.compress(b"<?xml version='1.0'?><urlset>" + entry * (200 * MB // len(entry)), 9)


HREFS: Final = (
    "javascript:alert(1)", "data:text/html,<a href=/data>x</a>", "file:///etc/passwd", "vbscript:x", "blob:x", "ftp://h/",
    "http://user:secret@127.0.0.1/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://[::1/", "http://a b/",
    "http://\u0430pple.test/", "http://\u3002/", "http://127.0.0.1\u3002evil.test/", "//localhost/", "\\\\localhost\\x",
    "http:\u200b//localhost/", "http://localhost\u0000.test/", "#" + "x" * MB, "?" + "y=1&" * 50_000,
    "/" + "z/" * 50_000,
)  # fmt: skip
PAGES: Final = (
    HostilePage("/nested", html(lambda: b"<div>" * (20 * MB)), 0, "BodyTooLarge"),
    HostilePage("/nested-8", html(lambda: b"<div>" * (8 * MB // 5) + b"<a href=/x>")),
    HostilePage("/unclosed-8", html(lambda: b"<a href=/x><b><font><table><p>" * (8 * MB // 30)), 1),
    HostilePage("/million-links", html(lambda: b"".join([b"<a href=/x%d>" % n for n in range(1_000_000)])), 0,
                "BodyTooLarge"),
    HostilePage("/many-links", html(lambda: b"".join([b"<a href=/x/%d>" % n for n in range(400_000)])), 20_000),
    HostilePage("/attributes", html(lambda: b"<a " + b" ".join([b"a%x" % n for n in range(500_000)]) + b">"), 0,
                "UnreadablePage"),
    HostilePage("/attributes-48k", html(lambda: b"<a " + b" ".join([b"a%d" % n for n in range(8_000)]) + b">")),
    HostilePage("/style", html(lambda: b"<style>" + b"url(" * (2 * MB) + b"</style>")),
    HostilePage("/comments", html(lambda: b"<style>" + b"/*/" * (2 * MB) + b"</style>")),
    HostilePage("/css", lambda: ok(b"@import " + b" " * (3 * MB) + b"url(" * 1000, CSS), 1),
    HostilePage("/nul", html(lambda: b"\0<" * (4 * MB))),
    HostilePage("/json-ld", html(lambda: b"<script type=application/ld+json>" + b"[" * (3 * MB) + b"</script>")),
    HostilePage("/srcset", html(lambda: b"<img srcset='" + b"x , " * (MB // 2) + b"'>"), 1),
    HostilePage("/long-link", html(lambda: b"<a href='/" + b"u" * MB + b"'>x</a>"), 1),
    HostilePage("/hrefs", html(lambda: "".join([f"<a href='{href}'>x</a>" for href in HREFS]).encode()), len(HREFS)),
    HostilePage("/link-header", lambda: ok(b"", HTML, "Link: " + "<" * 30_000)),
    HostilePage("/bomb.xml.gz", lambda: ok(bomb(), "Content-Type: application/gzip"), 1),
    HostilePage("/content-bomb", lambda: ok(gzip.compress(bytes(100 * MB)), HTML, "Content-Encoding: gzip"), 0,
                "BodyTooLarge"),
    HostilePage("/cycle-a.xml", lambda: ok(sitemap("/cycle-b.xml", "/cycle-a.xml"), XML), 2),
    HostilePage("/cycle-b.xml", lambda: ok(sitemap("/cycle-a.xml"), XML), 1),
    HostilePage("/entities", lambda: ok(
        b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>" + b"".join([
            b"<!ENTITY %c '%s'>" % (n + 1, b"&%c;" % n * 10) for n in range(97, 107)
        ]) + b"]><urlset><url><loc>&k;</loc></url></urlset>", XML)),
    HostilePage("/away", moved("http://localhost:1/"), 1),
    HostilePage("/to-script", moved("javascript:alert(1)"), 1),
    HostilePage("/to-itself", moved("/to-itself"), 1),
    HostilePage("/to-megabytes", moved("/" + "m" * 30_000), 1),
)  # fmt: skip


def served(path: str) -> bytes:
    """Serve the site: robots.txt names its sitemaps, / links to all of it."""
    if path == "/":
        return ok("".join([f"<a href='{each.path}'>x</a>" for each in PAGES]).encode(), HTML)
    if path == "/robots.txt":
        return ok(b"Sitemap: /cycle-a.xml\nSitemap: /bomb.xml.gz\nUser-agent: *\nDisallow: /private\n")
    found = next((each for each in PAGES if each.path == path), None)
    return found.answer() if found is not None else ok(b"no", status="404 Not Found")
