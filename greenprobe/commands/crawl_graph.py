"""The link graph of a crawl, as it grows: GraphML (networkx, Gephi, yEd) or CSV by the ending of the file's name.

Nothing is kept in memory: each address of a crawl has one record, so each is one node; the edges are the links that are
followed, whose targets have a record sooner or later. A crawl that ends early leaves edges to addresses that are no
nodes yet. The end of a GraphML file is written when the crawl ends; who goes on cuts the file to the mark before it.
Source: GraphML 1.0 (graphml.graphdrawing.org); XML 1.0, section 2.2, for the characters that may stand in it.
"""

import re
from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import click

from greenprobe.commands.output import Column, Output, encoder
from greenprobe.engine.crawlplan import LinkRecord, PageRecord
from greenprobe.engine.crawlvisits import Arrival

__all__ = ["LinkGraph"]

COLUMNS: Final = [Column("source", "from"), Column("target", "to"), *(Column(n, n) for n in ("kind", "rel", "text"))]
NODE_KEYS: Final = {"status": "int", "depth": "int", "title": "string", "skipped": "string", "error": "string"}
EDGE_KEYS: Final = {"kind": "string", "rel": "string", "text": "string"}
KEY: Final = '<key id="{place}_{name}" for="{place}" attr.name="{name}" attr.type="{kind}"/>\n'
START: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    + "".join(KEY.format(place="node", name=name, kind=kind) for name, kind in NODE_KEYS.items())
    + "".join(KEY.format(place="edge", name=name, kind=kind) for name, kind in EDGE_KEYS.items())
    + '<graph id="crawl" edgedefault="directed">\n'
)
END: Final = "</graph>\n</graphml>\n"
NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class LinkGraph:
    """The file of a graph that is being written. Raises click errors."""

    def __init__(self, path: str, *, goes_on_at: int | None = None) -> None:
        self._is_xml = is_graphml(path)
        self._out = Output(path, goes_on_at=goes_on_at)
        heading, self._encode = encoder("csv", COLUMNS)
        if not goes_on_at:
            self._out.write(START.encode() if self._is_xml else heading)

    def write(self, batch: Iterable[Arrival]) -> None:
        """Write the nodes and edges of a batch."""
        if self._is_xml:
            lines = "".join([node(each.record) + "".join(map(edge, followed(each))) for each in batch]).encode()
        else:
            lines = b"".join([self._encode(link.row()) for each in batch for link in followed(each)])
        if lines:
            self._out.write(lines)

    def length(self) -> int:
        """Write what waits, and return how many bytes that makes, without the end."""
        return self._out.length()

    def sync(self) -> int:
        """Have everything on the disk, and return the same."""
        return self._out.sync()

    def close(self) -> None:
        """Write the end, and close."""
        try:
            if self._is_xml:
                self._out.write(END.encode())
        finally:
            self._out.close()


def is_graphml(path: str) -> bool:
    """Tell GraphML from CSV by a name's ending. Raises click.UsageError for another."""
    if path.endswith((".graphml", ".csv")):
        return path.endswith(".graphml")
    raise click.UsageError(f"--graph {path!r} must end in .graphml or .csv: the ending says which of them is written")


def followed(arrival: Arrival) -> list[LinkRecord]:
    """Return the links of a page that are walked."""
    return [link for link in arrival.links if not link.verdict]


def node(record: PageRecord) -> str:
    """Return the element of a page."""
    error = record.error[0] if record.error is not None else None
    values = (record.status, record.depth, record.title, record.skipped or None, error)
    return f"<node id={attribute(record.url)}>{data('node', NODE_KEYS, values)}</node>\n"


def edge(record: LinkRecord) -> str:
    """Return the element of a link."""
    link = record.link
    values = (link.kind, link.rel or None, link.text or None)
    ends = f"source={attribute(record.page)} target={attribute(record.url)}"
    return f"<edge {ends}>{data('edge', EDGE_KEYS, values)}</edge>\n"


def data(place: str, keys: Iterable[str], values: Iterable[object]) -> str:
    """Return the data elements of those values that are there, on one line."""
    pairs = zip(keys, values, strict=True)
    return "".join(f'<data key="{place}_{key}">{content(value)}</data>' for key, value in pairs if value is not None)


def content(value: object) -> str:
    """Return a value as the text of an element; what XML cannot hold becomes U+FFFD."""
    return escape(NO_XML.sub("\ufffd", str(value)), {"\n": " ", "\r": " "})


def attribute(value: str) -> str:
    """Return a value as a quoted attribute."""
    return quoteattr(NO_XML.sub("\ufffd", value))
