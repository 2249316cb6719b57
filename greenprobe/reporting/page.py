"""A report as one HTML page that needs nothing else: data, style and script are in it.

Every byte from outside is in one JSON document inside a script element, in which `<`, `>` and `&` are escaped, so that
nothing in it can end the element; the script puts values into the page as text, never as markup. The page's policy
forbids to load or send anything.
"""

from pathlib import Path
from typing import Any, Final

import orjson

__all__ = ["CRAWL_TEMPLATE", "SCAN_TEMPLATE", "page_of"]

TEMPLATE: Final = Path(__file__).with_name("page.html")
SCAN_TEMPLATE: Final = Path(__file__).with_name("scan_page.html")
CRAWL_TEMPLATE: Final = Path(__file__).with_name("crawl_page.html")
# What all pages share, and where it goes.
SHARED: Final = {b"@@STYLE@@\n": "report.css", b"@@SCRIPT@@\n": "report.js"}
PLACEHOLDER: Final = b"@@DATA@@"
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
    page = template.read_bytes()
    for place, name in SHARED.items():
        page = page.replace(place, template.with_name(name).read_bytes())
    before, _, after = page.partition(PLACEHOLDER)
    return before + embedded({"source": source, **findings}) + after


def embedded(value: dict[str, Any]) -> bytes:
    """Return a value as JSON that can stand in a script element."""
    data = orjson.dumps(value)
    for plain, escaped in ESCAPES.items():
        data = data.replace(plain, escaped)
    return data
