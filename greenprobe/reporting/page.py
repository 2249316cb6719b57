"""A report as one HTML page that needs nothing else: data, style and script are in it.

Every byte from outside is in one JSON document inside a script element, in which `<`, `>` and `&` are escaped, so that
nothing in it can end the element; the script puts values into the page as text, never as markup. The page's policy
forbids to load or send anything.

What all pages share is `frame.html`, `report.css` and `report.js`. A template has what is its own, in this order: a
title, a style, the body, a script.
"""

import re
from pathlib import Path
from typing import Any, Final

import orjson

__all__ = ["CRAWL_TEMPLATE", "SCAN_TEMPLATE", "page_of"]

TEMPLATE: Final = Path(__file__).with_name("page.html")
SCAN_TEMPLATE: Final = Path(__file__).with_name("scan_page.html")
CRAWL_TEMPLATE: Final = Path(__file__).with_name("crawl_page.html")
OWN: Final = re.compile(
    rb"<title>(?P<TITLE>[^<]*)</title>\n<style>\n(?P<OWN_STYLE>[^<]*)</style>\n(?P<BODY>.*)"
    rb"<script>\n(?P<OWN_SCRIPT>.*)</script>\n",
    re.DOTALL,
)
PLACE: Final = re.compile(rb"@@(?P<name>[A-Z_]+)@@\n?")  # in the frame; a whole line goes with its end
# What could end the element, or a line of script in an old browser.
ESCAPES: Final = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}


def page_of(findings: dict[str, Any], *, source: str, template: Path = TEMPLATE) -> bytes:
    """Return the page that shows findings; `source` is the name of the file they are from."""
    own = OWN.fullmatch(template.read_bytes())
    assert own is not None, template
    parts = own.groupdict() | {
        "STYLE": template.with_name("report.css").read_bytes(),
        "SCRIPT": template.with_name("report.js").read_bytes(),
        "DATA": embedded({"source": source, **findings}),
    }
    return PLACE.sub(lambda place: parts[place["name"].decode()], template.with_name("frame.html").read_bytes())


def embedded(value: dict[str, Any]) -> bytes:
    """Return a value as JSON that can stand in a script element."""
    data = orjson.dumps(value)
    for plain, escaped in ESCAPES.items():
        data = data.replace(plain, escaped)
    return data
