"""Crawling from a script."""

from collections.abc import Iterator

import pytest
from fakes import ok, web_server

from greenprobe import TargetError, crawl
from greenprobe.crawling import Source

PAGES = {
    "/": ok(
        b"<title>home</title><p class=price>7 &euro;</p><a href=/b>b</a>", "Content-Type: text/html; charset=utf-8"
    ),
    "/b": ok(b"<title>b</title>", "Content-Type: text/html"),
    "/hidden": ok(b"<title>hidden</title>", "Content-Type: text/html"),
    "/old": ok(b"", "Location: /b", status="301 Moved"),
}
MISSING = ok(b"", status="404 Not Found")


@pytest.fixture
def site() -> Iterator[str]:
    with web_server(lambda path: PAGES.get(path, MISSING)) as port:
        yield f"http://127.0.0.1:{port}"


def test_pages_come_with_the_fields_that_a_function_extracts(site: str) -> None:
    def extract(page: Source) -> dict[str, object]:
        return {"price": page.selector.css(".price::text").get(), "size": len(page.body)}

    found = {page.url.removeprefix(site): page.fields for page in crawl(site, extract=extract)}
    assert found == {"/": {"price": "7 €", "size": 62}, "/b": {"price": None, "size": 16}}


def test_a_function_may_add_links(site: str) -> None:
    def extract(page: Source) -> None:
        page.follow("hidden")
        page.follow("http://other.test/")

    assert {page.url.removeprefix(site) for page in crawl(site, extract=extract)} == {"/", "/b", "/hidden"}


def test_what_the_function_raises_comes_out_of_the_loop(site: str) -> None:
    def extract(page: Source) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(crawl(site, extract=extract))


def test_the_loop_may_be_left_early(site: str) -> None:
    for page in crawl(site):
        assert page.status == 200
        break


def test_redirects_are_pages_of_their_own(site: str) -> None:
    found = {page.url.removeprefix(site): page.location for page in crawl(f"{site}/old")}
    assert found == {"/old": "/b", "/b": None}


def test_a_start_that_is_no_url_is_refused() -> None:
    with pytest.raises(TargetError, match="mailto:x"):
        next(crawl("mailto:x"))
