"""URLs: what is accepted, what is refused with which advice, and where redirects lead."""

import pytest
from hypothesis import given, strategies as st

from greenprobe.errors import RedirectError, UrlError
from greenprobe.http.urls import UrlReader, basic_authorization, join_redirect, read_url

ACCEPTED = [
    ("http://ex.com", "http://ex.com/"),
    ("HTTP://EX.com:80?a#b", "http://ex.com/?a"),
    ("https://ex.com:443/x", "https://ex.com/x"),
    ("http://ex.com:443/x", "http://ex.com:443/x"),
    ("http://ex.com:/x", "http://ex.com/x"),
    ("http://1.2.3.4:0080/", "http://1.2.3.4/"),
    ("https://[::1]:8443/x", "https://[::1]:8443/x"),
    ("http://[2001:DB8::1]/", "http://[2001:db8::1]/"),
    ("http://münchen.de/ä?ö", "http://xn--mnchen-3ya.de/%C3%A4?%C3%B6"),
    ("http://h/a%20b%zz", "http://h/a%20b%zz"),
    ("http://h/a/../../b/./c/..", "http://h/b/"),
    ("http://h/a?x=/../y", "http://h/a?x=/../y"),
    ("http:\\\\h\\a?b\\c", "http://h/a?b%5Cc"),
    ('http://h/{x}"<>', "http://h/%7Bx%7D%22%3C%3E"),
    ("http://user:pw@h/", "http://h/"),
    ("http://under_score.h/", "http://under_score.h/"),
]


@pytest.mark.parametrize(("text", "normal"), ACCEPTED)
def test_urls_are_normalized(text: str, normal: str) -> None:
    assert read_url(text).text == normal


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("foo", "write http://foo"),
        ("//h/x", "write http://h/x"),
        ("localhost:80/x", "only http and https"),
        ("ftp://h/", "only http and https"),
        ("http:///x", "neither a name nor an address"),
        ("http:foo", "names no host"),
        ("http://h/a b", "write %20"),
        ("http://h/\x00", "write %00"),
        ("http://h/a\nb", "write %0A"),
        ("http://h:0/", "from 1 to 65535"),
        ("http://h:65536/", "from 1 to 65535"),
        ("http://h:+80/", "from 1 to 65535"),
        ("http://h:8_0/", "from 1 to 65535"),
        ("http://h:\u0668\u0660/", "from 1 to 65535"),
        ("http://h:80:90/", "from 1 to 65535"),
        ("http://[::1/", "IPv6"),
        ("http://[::1]x/", "IPv6"),
        ("http://[1.2.3.4]/", "IPv6"),
        ("http://a$b/", "neither a name"),
        ("http://" + "a" * 64 + "ä/", "internationalized"),
        ("http://h/" + "x" * 70_000, "characters long"),
    ],
)
def test_what_is_no_url_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(UrlError, match=advice):
        read_url(text)


def test_credentials_are_kept_apart_from_the_url() -> None:
    url = read_url("http://us%65r:p%40w@h/")
    assert url.credentials == b"user:p@w"
    assert basic_authorization(url.credentials) == b"Basic dXNlcjpwQHc="


def test_host_header_names_the_port_only_where_it_is_not_the_scheme_s_own() -> None:
    assert read_url("http://h:80/").origin.authority == "h"
    assert read_url("http://h:81/").origin.authority == "h:81"
    assert read_url("http://[::1]:81/").origin.authority == "[::1]:81"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("d", "https://h/a/b/d"),
        ("../d", "https://h/a/d"),
        ("../../../d", "https://h/d"),
        ("/d", "https://h/d"),
        ("?z", "https://h/a/b/c?z"),
        ("", "https://h/a/b/c?q"),
        ("#f", "https://h/a/b/c?q"),
        ("//o/x", "https://o/x"),
        ("https://u:p@o/x", "https://o/x"),
        ("/\xe9", "https://h/%E9"),
        ("/\xc3\xa9", "https://h/%C3%A9"),
        ("/a\x01b c\t", "https://h/a%01b%20c"),
        ("/x%0d%0aX-Evil:%201", "https://h/x%0d%0aX-Evil:%201"),
        ("https:\\\\o\\y", "https://o/y"),
    ],
)
def test_redirects_are_joined(location: str, leads_to: str) -> None:
    url = join_redirect(read_url("https://h/a/b/c?q"), location)
    assert (url.text, url.credentials) == (leads_to, None)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "data:x", "javascript:alert(1)", "gopher://h/", "http://h:0/", "http://[::1/"]
)
def test_redirects_lead_to_http_only(location: str) -> None:
    with pytest.raises(RedirectError, match="cannot be fetched"):
        join_redirect(read_url("http://h/"), location)


def test_redirect_from_https_to_http_is_followed_only_when_asked() -> None:
    base = read_url("https://h/")
    with pytest.raises(RedirectError, match="not encrypted"):
        join_redirect(base, "http://h/")
    assert join_redirect(base, "http://h/", allows_downgrade=True).text == "http://h/"


LINES = st.one_of(
    st.sampled_from([text.encode() for text, _ in ACCEPTED]),
    st.builds(
        lambda front, rest: front + rest.encode(),
        st.sampled_from([b"http://h/", b"http://h?", b"http://h#", b"http://u@h/", b"http://h:81/", b"http:\\\\h\\"]),
        st.text(alphabet="/.?#@%a\\:é ", max_size=8),
    ),
)


@given(st.lists(LINES, max_size=8))
def test_the_reader_that_remembers_origins_reads_as_the_one_that_does_not(lines: list[bytes]) -> None:
    reader = UrlReader()
    for line in lines:
        try:
            expected = read_url(line.decode())
        except UrlError:
            with pytest.raises(UrlError):
                reader.read(line)
        else:
            assert reader.read(line) == expected


def test_bytes_that_are_not_utf8_are_no_url() -> None:
    with pytest.raises(UrlError, match="UTF-8"):
        UrlReader().read(b"http://h/\xff")


def test_a_long_location_that_is_none_costs_what_it_is() -> None:
    """10 s, and the hub stood still, where a password was looked for behind each of its slashes."""
    with pytest.raises(RedirectError, match="cannot be read"):
        join_redirect(read_url("http://h/"), "http://h:99999/a@" + "//" * 30_000)


@pytest.mark.parametrize(
    "text",
    (
        "http://user:secret@h/ x",
        "user:secret@h",
        "http://user:sec/secret@h/",
        "ftp://user:secret@h/",
        "http://user:secret@h:99999/",
        "https:\\\\user:secret@h:0/",
        "http://user:secret@@[::/",
    ),
)
def test_no_message_shows_a_password(text: str) -> None:
    with pytest.raises(UrlError) as caught:
        read_url(text)
    assert "secret" not in str(caught.value)
