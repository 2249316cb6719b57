"""What a body tells: title, counts, digests, similarity, technology; gathered while it streams past.

Only the first MAX_KEPT_BYTES are looked into; digests are of everything. Nothing here trusts a byte: a title is cut,
and the regular expressions are linear.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from struct import unpack
from typing import Any, Final

from greenprobe.engine.similarity import simhash
from greenprobe.http.charset import decode_text
from greenprobe.http.trace import Trace
from greenprobe.http.wire import Headers
from greenprobe.lazy import Lazy

__all__ = ["FACT_NAMES", "BodyFacts", "FactsTaker", "mmh3"]

html = Lazy("html")

FACT_NAMES: Final = ("title", "words", "lines", "sha256", "simhash", "tech")
MAX_KEPT_BYTES: Final = 1 << 20
MAX_TITLE: Final = 300

_title = re.compile(r"<title(?:\s[^<>]{0,200})?>([^<]{0,2000})", re.IGNORECASE).search
_generator = re.compile(
    r"""<meta\s[^<>]{0,200}name=["']?generator["']?[^<>]{0,200}content=["']([^"'<>]{1,100})""", re.IGNORECASE
).search
_words = re.compile(r"\w+").findall
_tags = re.compile(r"<[^<>]{0,1000}>")

# Signs of what a site is made with: header, or a part of the document, and the name. A small table on purpose.
HEADER_SIGNS: Final = (
    ("server", "nginx", "nginx"),
    ("server", "apache", "Apache"),
    ("server", "microsoft-iis", "IIS"),
    ("server", "cloudflare", "Cloudflare"),
    ("server", "openresty", "OpenResty"),
    ("server", "litespeed", "LiteSpeed"),
    ("server", "caddy", "Caddy"),
    ("server", "gunicorn", "Gunicorn"),
    ("server", "envoy", "Envoy"),
    ("x-powered-by", "php", "PHP"),
    ("x-powered-by", "asp.net", "ASP.NET"),
    ("x-powered-by", "express", "Express"),
    ("x-powered-by", "next.js", "Next.js"),
    ("set-cookie", "phpsessid", "PHP"),
    ("set-cookie", "jsessionid", "Java"),
    ("set-cookie", "laravel_session", "Laravel"),
    ("set-cookie", "csrftoken", "Django"),
    ("x-drupal-cache", "", "Drupal"),
    ("x-varnish", "", "Varnish"),
    ("x-amz-cf-id", "", "CloudFront"),
    ("x-shopify-stage", "", "Shopify"),
)
DOCUMENT_SIGNS: Final = (
    ("/wp-content/", "WordPress"),
    ("/wp-includes/", "WordPress"),
    ("drupal-settings-json", "Drupal"),
    ("/media/jui/", "Joomla"),
    ("__next_data__", "Next.js"),
    ("__nuxt", "Nuxt"),
    ("ng-version=", "Angular"),
    ("data-reactroot", "React"),
    ("cdn.shopify.com", "Shopify"),
    ("static.wixstatic.com", "Wix"),
    ("squarespace.com", "Squarespace"),
    ("jquery", "jQuery"),
    ("bootstrap.min.css", "Bootstrap"),
)


class BodyFacts:
    """Gathers the wanted facts of one body: a sink. Ask for `row` when the body is complete."""

    __slots__ = ("_digest", "_kept", "_wanted")

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = frozenset(wanted)
        self._kept = bytearray()
        self._digest = sha256() if "sha256" in self._wanted else None

    def __call__(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._digest is not None:
            self._digest.update(piece)
        room = MAX_KEPT_BYTES - len(self._kept)
        if room > 0:
            self._kept += piece[:room]

    def text(self, headers: Headers) -> str:
        """Return what was kept, as text."""
        return decode_text(bytes(self._kept), headers.get("content-type", (None,))[0])

    def row(self, headers: Headers) -> dict[str, Any]:
        """Return the facts by name."""
        wanted = self._wanted
        text = self.text(headers)
        row: dict[str, Any] = {}
        if "title" in wanted:
            row["title"] = title_of(text)
        if "words" in wanted:
            row["words"] = len(_words(text))
        if "lines" in wanted:
            row["lines"] = text.count("\n") + (not text.endswith("\n") and bool(text))
        if self._digest is not None:
            row["sha256"] = self._digest.hexdigest()
        if "simhash" in wanted:
            row["simhash"] = f"{simhash(_tags.sub(' ', text)):016x}"
        if "tech" in wanted:
            row["tech"] = technologies(text, headers)
        return row


class FactsTaker:
    """Facts of a body as fields of its row; a Taker. `keeps_text` adds the text, for conditions on it."""

    def __init__(self, wanted: tuple[str, ...], *, keeps_text: bool) -> None:
        self._facts = BodyFacts(wanted)
        self._keeps_text = keeps_text

    def __call__(self, piece: bytes) -> None:
        """Take the next piece."""
        self._facts(piece)

    def finish(self, trace: Trace, failure: object) -> dict[str, Any]:
        """Return the facts, also of a body that was cut short."""
        row: dict[str, Any] = {"facts": self._facts.row(trace.headers)}
        if self._keeps_text:
            row["body"] = self._facts.text(trace.headers)
        return row


def title_of(text: str) -> str | None:
    """Return the title of a document on one line, cut to MAX_TITLE characters; None if it has none."""
    found = _title(text)
    if found is None:
        return None
    title: str = html.unescape(found[1])
    return " ".join(title.split())[:MAX_TITLE]


def technologies(text: str, headers: Headers) -> list[str]:
    """Return the names of what a site seems to be made with, sorted; hints, no proof."""
    found = {
        name for header, sign, name in HEADER_SIGNS if header in headers and sign in " ".join(headers[header]).lower()
    }
    small = text.lower()
    found |= {name for sign, name in DOCUMENT_SIGNS if sign in small}
    generator = _generator(text)
    if generator is not None:
        found.add(" ".join(generator[1].split()))
    return sorted(found)


def mmh3(data: bytes) -> int:
    """Return the signed 32-bit MurmurHash3 (x86, seed 0), which favicon databases use on base64 text."""
    mask, h = 0xFFFFFFFF, 0
    whole = len(data) & ~3
    for (k,) in (unpack("<I", data[n : n + 4]) for n in range(0, whole, 4)):
        k = k * 0xCC9E2D51 & mask
        k = (k << 15 | k >> 17) & mask
        h ^= k * 0x1B873593 & mask
        h = (h << 13 | h >> 19) & mask
        h = (h * 5 + 0xE6546B64) & mask
    tail = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & mask
    h ^= (tail << 15 | tail >> 17) * 0x1B873593 & mask
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & mask
    h = (h ^ h >> 13) * 0xC2B2AE35 & mask
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h
