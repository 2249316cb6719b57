"""The link graph of a crawl: valid XML whatever pages say, one node a page, and whole after a crawl that goes on."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fakes import ok, web_server

from greenprobe.cli import cli, run
from greenprobe.commands.crawl_graph import attribute, content

XMLNS = "{http://graphml.graphdrawing.org/xmlns}"
EVIL = "\x00\x1b]]></data>&\"'<node>\ufffe"


def answer(path: str) -> bytes:
    """Serve a ring of twenty pages, each with a hostile title, and a link that leads out."""
    if not path.removeprefix("/").isdigit():
        return ok(b"no", status="404 Not Found")
    following = (int(path[1:]) + 1) % 20
    body = f'<title>{EVIL}</title><a href="/{following}" rel=next>=1+1 {EVIL}</a><a href="http://127.0.0.2:1/">out</a>'
    return ok(body.encode(), "Content-Type: text/html; charset=utf-8")


def read(path: Path, site: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the nodes and edges of a GraphML file, as paths."""
    root = ElementTree.parse(path).getroot()
    nodes = [str(node.get("id")).removeprefix(site) for node in root.iter(XMLNS + "node")]
    ends = [(str(edge.get("source")), str(edge.get("target"))) for edge in root.iter(XMLNS + "edge")]
    return nodes, [(source.removeprefix(site), target.removeprefix(site)) for source, target in ends]


def test_every_page_is_a_node_and_every_followed_link_an_edge(tmp_path: Path) -> None:
    graph = tmp_path / "graph.graphml"
    with web_server(answer) as port:
        site = f"http://127.0.0.1:{port}"
        assert run(cli, ["crawl", f"{site}/0", "-o", str(tmp_path / "out"), "--graph", str(graph)]) == 0
    nodes, edges = read(graph, site)
    assert sorted(nodes) == sorted(f"/{number}" for number in range(20))
    assert sorted(edges) == sorted((f"/{number}", f"/{(number + 1) % 20}") for number in range(20))
    assert "\x1b" not in graph.read_text()


def test_a_crawl_that_goes_on_leaves_one_whole_graph(tmp_path: Path) -> None:
    graph = tmp_path / "graph.graphml"
    with web_server(answer) as port:
        site = f"http://127.0.0.1:{port}"
        words = ["crawl", f"{site}/0", "-o", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
        assert run(cli, [*words, "--graph", str(graph), "--max-pages", "7"]) == 0
        assert len(read(graph, site)[0]) == 7
        assert run(cli, [*words, "--graph", str(graph)]) == 0
    nodes, edges = read(graph, site)
    assert sorted(nodes) == sorted(f"/{number}" for number in range(20))
    assert len(edges) == 20


def test_a_csv_has_an_edge_a_line_and_no_formula(tmp_path: Path) -> None:
    graph = tmp_path / "graph.csv"
    with web_server(answer) as port:
        words = ["crawl", f"http://127.0.0.1:{port}/0", "-o", str(tmp_path / "out"), "--graph", str(graph)]
        assert run(cli, words) == 0
    with graph.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 20
    assert rows[0].keys() == {"source", "target", "kind", "rel", "text"}
    assert all(row["text"].startswith("'=1+1") for row in rows)


def test_another_ending_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["crawl", "http://127.0.0.1:1/", "--graph", str(tmp_path / "graph.png")]) == 2
    assert "must end in .graphml or .csv" in capfd.readouterr().err


@pytest.mark.parametrize("text", [EVIL, "\ud800", "a\nb", "]]>", "\x7f\x85"])
def test_any_text_is_well_formed(text: str) -> None:
    element = ElementTree.fromstring(f"<a b={attribute(text)}>{content(text)}</a>")
    assert element.text is not None
    assert "\n" not in content(text)
