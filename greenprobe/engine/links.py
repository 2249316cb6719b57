"""What a page says: its links, each with its kind, and what it tells a crawler of itself. Bytes in, facts out.

`LINKS` is the table of which attribute of which element holds a link of which kind. What is read is bounded: MAX_LINKS
a page, MAX_TEXT characters of each text; what is over that is counted. Links are hrefs as the page writes them:
`canonical.py` makes addresses of them. An element's attributes are read by an HTML parser, once, so entities are
decoded once. The expressions here never go back (`*+`): a page of two million "url(" is read in linear time.

lxml's parser (libxml2) is the fastest there is for Python. Three of its ways are not a browser's and are mended here:
it stops at a NUL, it reads elements inside <textarea>, and it knows no charset but the one it is told.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson
from lxml import etree

from greenprobe.http.charset import decode_text

__all__ = [
    "MAX_PAGE_BYTES",
    "NO_FACTS",
    "Link",
    "PageFacts",
    "css_links",
    "header_links",
    "html_facts",
    "refresh_target",
    "robots_words",
]

MAX_LINKS: Final = 20_000
MAX_TEXT: Final = 200  # characters of a title or of what a link is called
MAX_PAGE_TEXT: Final = 500_000
MAX_PAGE_BYTES: Final = 4 << 20  # that are read; a tree takes ten times as much memory
MAX_JSON_LD: Final = 256  # links of one page's JSON-LD
MAX_REFRESH: Final = 10_000  # characters
MAX_DEPTH: Final = 200  # of JSON-LD; of HTML, libxml2 has a bound of its own (2,048)


class Link(NamedTuple):
    """A link as a page has it: `kind` is a name in KINDS, `rel` its lower-case words, `text` what it is called."""

    href: str
    kind: str
    rel: str = ""
    text: str = ""


class PageFacts(NamedTuple):
    """What one page says.

    `base` is the href of its base element, `robots` the words of its robots meta element, `text` what is not markup.
    """

    title: str
    language: str
    base: str
    canonical: str
    robots: frozenset[str]
    links: tuple[Link, ...]
    left_out: int
    text: str


NO_FACTS: Final = PageFacts("", "", "", "", frozenset(), (), 0, "")


# Pages are what a crawler walks; the others are looked at only if asked for.
KINDS: Final = {
    "a": "page",
    "area": "page",
    "frame": "page",
    "form": "page",
    "refresh": "page",
    "redirect": "page",
    "next": "page",
    "alternate": "page",
    "canonical": "page",
    "data": "page",
    "json-ld": "page",
    "header": "page",
    "feed": "list",
    "list": "list",
    "listed": "page",
    "image": "asset",
    "media": "asset",
    "object": "asset",
    "script": "asset",
    "style": "asset",
    "icon": "asset",
    "css": "asset",
    "ping": "never",
}

LINKS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "a": (("href", "a"), ("ping", "ping"), ("{http://www.w3.org/1999/xlink}href", "a"), ("xlink:href", "a")),
    "area": (("href", "area"),),
    "iframe": (("src", "frame"),),
    "frame": (("src", "frame"),),
    "img": (("src", "image"), ("data-src", "image"), ("data-original", "image"), ("longdesc", "a")),
    "input": (("src", "image"),),
    "source": (("src", "media"),),
    "video": (("src", "media"), ("poster", "image")),
    "audio": (("src", "media"),),
    "track": (("src", "media"),),
    "embed": (("src", "object"),),
    "object": (("data", "object"),),
    "script": (("src", "script"),),
    "blockquote": (("cite", "a"),),
    "q": (("cite", "a"),),
    "ins": (("cite", "a"),),
    "del": (("cite", "a"),),
}

_in_css = re.compile(
    r"""@import\s++(?:url\(\s*+)?["']?([^"')\s;]++)|url\(\s*+(?:"([^"]*+)"|'([^']*+)'|([^()\s"']*+))\s*+\)""",
    re.IGNORECASE,
)
_css_comment = re.compile(r"/\*(?:[^*]++|\*(?!/))*+(?:\*/)?")
_refresh = re.compile(
    r"""\s*[0-9.]+(?:\s*[;,]|\s)\s*(?:url\s*=\s*)?(?:"([^"]*)"|'([^']*)'|(\S.*))""", re.IGNORECASE | re.DOTALL
)
_link_header = re.compile(r"""<([^<>]*+)>((?:\s*+;\s*+[\w*!-]++\s*+(?:=\s*+(?:"[^"]*+"|[^",;\s]*+))?+)*+)""")
_rel_of_header = re.compile(r"""rel\s*+=\s*+(?:"([^"]*+)"|([^",;\s]*+))""", re.IGNORECASE)

_styles = etree.XPath(f"(//@style[contains(., 'url(')])[position() <= {MAX_LINKS}]", smart_strings=False)
_data_hrefs = etree.XPath(f"(//@data-href)[position() <= {MAX_LINKS}]", smart_strings=False)
_count = etree.XPath("count(//@href|//@src)")
_all_text = etree.XPath("string()", smart_strings=False)


def html_facts(body: bytes, content_type: str | None = None) -> PageFacts:
    """Return what an HTML page says. Never raises for what is in it: broken markup is read as far as it goes."""
    text = decode_text(body[:MAX_PAGE_BYTES], content_type).replace("\0", "\ufffd")
    root = parse(text)
    if root is None:
        return NO_FACTS
    return Reader(text).read(root)


# One for all pages: making it takes as long as reading a small page. It keeps nothing of what it has read.
# huge_tree: elements 2,048 deep instead of 256, as unclosed <font>s make them.
_parser = etree.HTMLParser(
    encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True, collect_ids=False
)


def parse(text: str) -> Any:
    """Return the root element of a page, None if there is none."""
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), _parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None


class Reader:
    """Walks the elements of one page once. What the page's text has nowhere in it is not looked for."""

    def __init__(self, text: str) -> None:
        self.title = self.language = self.base = self.canonical = ""
        self.robots: frozenset[str] = frozenset()
        self.links: list[Link] = []
        lower = text.lower()
        self._has_textarea = "<textarea" in lower
        self._has_css = "url(" in lower
        self._has_data = "data-href" in lower

    def read(self, root: Any) -> PageFacts:
        """Return the facts of a page; the walk ends where it has MAX_LINKS."""
        self.language = (root.get("lang") or "")[:MAX_TEXT]
        for element in root.iter(*WALKED):
            tag = element.tag
            rows = LINKS.get(tag)
            if rows is not None:
                self._take(element, rows)
            special = SPECIAL.get(tag)
            if special is not None:
                special(self, element)
            if len(self.links) >= MAX_LINKS:
                break
        if self._has_css:
            for value in _styles(root):
                self.links.extend(css_links(value))
        if self._has_data:
            self.links.extend([Link(href, "data") for href in _data_hrefs(root)])
        kept = tuple(self.links[:MAX_LINKS])
        left_out = 0 if len(self.links) < MAX_LINKS else max(0, int(_count(root)) - MAX_LINKS)
        text = _all_text(root)[:MAX_PAGE_TEXT]
        return PageFacts(self.title, self.language, self.base, self.canonical, self.robots, kept, left_out, text)

    def _take(self, element: Any, rows: tuple[tuple[str, str], ...]) -> None:
        if self._has_textarea and is_in_textarea(element):
            return
        for attribute, kind in rows:
            href = element.get(attribute)
            if href is not None:
                text = text_of(element) if kind == "a" else element.get("alt") or ""
                self.links.append(Link(href, kind, (element.get("rel") or "").lower(), text))

    # -- elements that are more than a link

    def _read_title(self, element: Any) -> None:
        if not self.title and element.getparent() is not None and element.getparent().tag != "svg":
            self.title = text_of(element)

    def _read_base(self, element: Any) -> None:
        self.base = self.base or element.get("href") or ""

    def _read_link(self, element: Any) -> None:
        href = element.get("href")
        if href is None:
            return
        rel = (element.get("rel") or "").lower()
        words = rel.split()
        kind = next((kind for word, kind in LINK_RELS if word in words), "")
        if kind == "alternate" and is_feed(element.get("type") or ""):
            kind = "feed"
        if kind == "canonical" and not self.canonical:
            self.canonical = href
        if kind:
            self.links.append(Link(href, kind, rel))

    def _read_meta(self, element: Any) -> None:
        content = element.get("content") or ""
        if (element.get("name") or "").lower() in {"robots", "greenprobe"}:
            self.robots |= robots_words(content)
        if (element.get("http-equiv") or "").lower() == "refresh":
            target = refresh_target(content)
            if target:
                self.links.append(Link(target, "refresh"))

    def _read_form(self, element: Any) -> None:
        if (element.get("method") or "get").lower() == "get" and element.get("action") is not None:
            self.links.append(Link(element.get("action"), "form"))

    def _read_srcset(self, element: Any) -> None:
        for href in srcset(element.get("srcset") or element.get("data-srcset") or ""):
            self.links.append(Link(href, "image"))

    def _read_style(self, element: Any) -> None:
        self.links.extend(css_links(element.text or ""))

    def _read_script(self, element: Any) -> None:
        if (element.get("type") or "").lower() == "application/ld+json":
            self.links.extend(json_ld_links(element.text or ""))


SPECIAL: Final[dict[str, Callable[[Reader, Any], None]]] = {
    "title": Reader._read_title,
    "base": Reader._read_base,
    "link": Reader._read_link,
    "meta": Reader._read_meta,
    "form": Reader._read_form,
    "img": Reader._read_srcset,
    "source": Reader._read_srcset,
    "style": Reader._read_style,
    "script": Reader._read_script,
}
# The first word that a link element's rel has decides.
LINK_RELS: Final = (
    ("canonical", "canonical"),
    ("stylesheet", "style"),
    ("alternate", "alternate"),
    ("next", "next"),
    ("prev", "next"),
    ("icon", "icon"),
    ("apple-touch-icon", "icon"),
    ("manifest", "style"),
    ("search", "never"),
)
FEED_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")


def is_feed(content_type: str) -> bool:
    """Tell whether a media type is that of a feed."""
    return content_type.partition(";")[0].strip().lower() in FEED_TYPES


WALKED: Final = tuple(LINKS.keys() | SPECIAL.keys())


def is_in_textarea(element: Any) -> bool:
    """Tell whether an element is text in a browser's eyes."""
    return next(element.iterancestors("textarea"), None) is not None


def text_of(element: Any) -> str:
    """Return the text in an element in one line, MAX_TEXT characters at most."""
    if not len(element):
        text = element.text or ""
    else:
        text = "".join(islice(element.itertext(), MAX_TEXT))
    return " ".join(text[: MAX_TEXT * 4].split())[:MAX_TEXT]


def srcset(value: str) -> Iterator[str]:
    """Yield the URLs of a srcset. Source: HTML standard, 4.8.4.2.1; a comma inside a URL is kept."""
    for candidate in re.split(r",\s+|,$", value[: MAX_LINKS * 10]):
        words = candidate.split()
        if words:
            yield words[0].strip(",")


def css_links(text: str) -> Iterator[Link]:
    """Yield what a stylesheet imports and loads."""
    for found in _in_css.finditer(_css_comment.sub(" ", text)):
        href = next((group for group in found.groups() if group), "")
        if href and not href.startswith(("data:", "#")):
            yield Link(href, "css")


def refresh_target(value: str) -> str:
    """Return where a Refresh header or meta element leads, "" for one that only loads the page again."""
    found = _refresh.fullmatch(value[:MAX_REFRESH])
    if found is None:
        return ""
    return next((group for group in found.groups() if group), "").strip()


def header_links(values: list[str]) -> Iterator[Link]:
    """Yield the links of Link headers. Source: RFC 8288, section 3."""
    for value in values:
        for found in _link_header.finditer(value):
            rel = _rel_of_header.search(found[2])
            words = (rel[1] or rel[2] or "").lower() if rel else ""
            yield Link(found[1].strip(), "canonical" if words == "canonical" else "header", words)


def robots_words(value: str) -> frozenset[str]:
    """Return the directives of a robots meta element, or of an X-Robots-Tag for everybody or for us."""
    agent, colon, rest = value.partition(":")
    if colon and agent.strip().lower() not in {"unavailable_after", "max-snippet", "max-image-preview"}:
        if agent.strip().lower() not in {"greenprobe", "robots"}:
            return frozenset()
        value = rest
    words = {word.strip().lower() for word in value.split(",")}
    if "none" in words:
        words |= {"noindex", "nofollow"}
    return frozenset(words - {""})


def json_ld_links(text: str) -> Iterator[Link]:
    """Yield the URLs of a page's JSON-LD: the values of "url", "@id" and the like that are http(s)."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    for href in islice(urls_in(found, 0), MAX_JSON_LD):
        yield Link(href, "json-ld")


def urls_in(value: Any, depth: int) -> Iterator[str]:
    """Yield the URLs under the keys that hold pages."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for each in value:
            yield from urls_in(each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                if key in {"url", "mainEntityOfPage", "sameAs", "item"} and each.startswith(
                    ("http://", "https://", "/")
                ):
                    yield each
            else:
                yield from urls_in(each, depth + 1)
