"""The parts of the client that know no sockets: requests, bodies, who we are, cookies, proxies, retries, charsets."""

import hashlib
import io
import re
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from socket import AF_INET
from types import SimpleNamespace

import pytest
import trustme
from hypothesis import given, settings, strategies as st

from greenprobe.errors import ConnectError, ForbiddenAddress, LocalProtocolError, ProxyError, TargetError, TlsError
from greenprobe.http.addresses import is_public
from greenprobe.http.auth import Auth, Basic, Bearer, Challenge, Digest, Netrc, challenges
from greenprobe.http.bodies import BytesBody, FileBody, FilePart, MultipartBody, StreamBody, form_body
from greenprobe.http.certificates import public_key
from greenprobe.http.charset import decode_text, find_charset
from greenprobe.http.connections import Address
from greenprobe.http.connector import resolve_name
from greenprobe.http.cookies import MAX_AGE_S, MAX_PER_ANSWER, MAX_PER_HOST, CookieJar, cookie_date, read_cookies_txt
from greenprobe.http.proxy import Conversation, NoProxy, Proxies, read_proxy, socks, tunnel
from greenprobe.http.request import Request, default_fields, request_head
from greenprobe.http.retries import RetryPolicy, retry_after
from greenprobe.http.trust import check_pins, read_pin
from greenprobe.http.urls import read_url

NOW = 1_800_000_000.0
HTTP = read_url("http://www.example.co.uk/shop/item")
HTTPS = read_url("https://www.example.co.uk/shop/item")


# -- requests


def test_a_head_names_the_host_first_and_overrides_defaults() -> None:
    defaults = default_fields("x/1", "gzip", (("X-All", "1"), ("accept", "")))
    request = Request.of("PUT", {"User-Agent": "mine", "X-One": "2"}, BytesBody(b"abc", "text/plain"))
    assert request_head(HTTP.origin, b"/p", request, defaults, (("Cookie", "a=b"),)).decode() == (
        "PUT /p HTTP/1.1\r\nHost: www.example.co.uk\r\nAccept-Encoding: gzip\r\nX-All: 1\r\nUser-Agent: mine\r\n"
        "X-One: 2\r\nCookie: a=b\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"
    )


def test_a_body_of_unknown_length_goes_in_chunks() -> None:
    head = request_head(HTTP.origin, b"/", Request.of("POST", (), StreamBody([b"a"])), ())
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head


@pytest.mark.parametrize(
    ("method", "headers"),
    (
        ("GE T", {}),
        ("CONNECT", {}),
        ("", {}),
        ("GET", {"X\r\nEvil": "1"}),
        ("GET", {"X": "1\r\nEvil: 2"}),
        ("GET", {"X": "1\x00"}),
        ("GET", {"X:": "1"}),
        ("GET", {"Content-Length": "5"}),
        ("GET", {"transfer-encoding": "chunked"}),
        ("GET", {"X": "\u20ac"}),
    ),
)
def test_what_would_break_out_of_its_line_is_refused(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        Request.of(method, headers)


@settings(max_examples=50)
@given(st.text(max_size=8), st.text(max_size=8))
def test_a_head_has_as_many_lines_as_fields_whatever_is_asked(name: str, value: str) -> None:
    try:
        request = Request.of("GET", {name: value})
    except LocalProtocolError:
        return
    lines = request_head(HTTP.origin, b"/", request, ()).split(b"\r\n")
    assert len(lines) - 4 <= 1


@pytest.mark.parametrize(
    ("method", "status", "becomes"),
    (
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("PUT", 303, "GET"),
        ("PUT", 301, "PUT"),
        ("HEAD", 303, "HEAD"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
    ),
)
def test_a_redirect_changes_the_method_as_browsers_do(method: str, status: int, becomes: str) -> None:
    request = Request.of(method, {"Content-Type": "a/b"}, BytesBody(b"x"))
    found = request.redirected(status, same_origin=True)
    assert (found.method, found.body is None, found.value("content-type") is None) == (
        becomes,
        becomes == "GET",
        becomes == "GET",
    )


def test_a_redirect_elsewhere_loses_what_is_secret() -> None:
    request = Request.of("GET", {"authorization": "a", "Cookie": "b", "X": "c"}, auth=Basic("u", "p"))
    found = request.redirected(302, same_origin=False)
    assert (found.fields, found.auth) == ((("X", "c"),), None)


def test_a_redirect_elsewhere_loses_the_host_that_was_named() -> None:
    request = Request.of(headers={"Host": "other"})
    assert request.redirected(302, same_origin=True).value("host") == "other"
    assert request.redirected(302, same_origin=False).value("host") is None


# -- bodies


def test_the_type_of_a_body_cannot_break_out_of_its_line() -> None:
    with pytest.raises(LocalProtocolError, match="line break"):
        Request.of("POST", body=BytesBody(b"x", "text/plain\r\nX: y"))


def test_a_file_is_sent_from_where_it_stands_and_again() -> None:
    file = io.BytesIO(b"abcdef")
    file.seek(2)
    body = FileBody(file)
    assert (body.length, body.can_repeat) == (4, True)
    assert [b"".join(body.pieces()) for _ in range(2)] == [b"cdef", b"cdef"]


def test_a_file_may_be_sent_to_several_at_once() -> None:
    content = bytes(range(256)) * 1000
    body = FileBody(io.BytesIO(content))
    pairs = list(zip(body.pieces(), body.pieces(), strict=True))
    assert [b"".join(pieces) for pieces in zip(*pairs, strict=True)] == [content, content]


def test_a_file_that_shrank_is_an_error() -> None:
    file = io.BytesIO(b"abcdef")
    body = FileBody(file)
    file.truncate(3)
    with pytest.raises(LocalProtocolError, match="3 bytes shorter"):
        list(body.pieces())


@pytest.mark.parametrize("length", (1, 5))
def test_a_stream_of_another_length_is_an_error(length: int) -> None:
    with pytest.raises(LocalProtocolError, match="announced"):
        list(StreamBody([b"ab", b"c"], length=length).pieces())


def test_a_form_with_files_has_the_length_it_says() -> None:
    part = FilePart('a"b\r\n.txt', io.BytesIO(b"data"))
    body = MultipartBody([("name", "é")], [("file", part)], boundary="B")
    sent = b"".join(body.pieces())
    assert body.length == len(sent)
    assert sent.decode() == (
        '--B\r\nContent-Disposition: form-data; name="name"\r\n\r\né\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="a%22b%0D%0A.txt"\r\n'
        "Content-Type: text/plain\r\n\r\ndata\r\n--B--\r\n"
    )


def test_a_plain_form_is_urlencoded() -> None:
    assert form_body({"a b": "c&d"}).data == b"a+b=c%26d"


# -- authorization


def test_basic_and_bearer_say_it_at_once() -> None:
    assert Basic("Aladdin", "open sesame").header("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert Bearer("abc").header("GET", "/") == "Bearer abc"
    assert "sesame" not in repr(Basic("Aladdin", "open sesame")) + repr(Bearer("sesame"))
    with pytest.raises(LocalProtocolError):
        Bearer("a\r\nb").header("GET", "/")


RFC_7616 = [
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    for algorithm in ("SHA-256", "MD5")
]


def test_digest_gives_the_answer_of_the_rfc_for_the_stronger_algorithm() -> None:
    digest = Digest("Mufasa", "Circle of Life").at("http://h")
    assert digest.header("GET", "/dir/index.html") is None
    assert digest.learn(RFC_7616)
    nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    said = digest.header("GET", "/dir/index.html", nonce=nonce)
    assert said is not None
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in said
    assert "nc=00000001" in said


def test_digest_with_md5_gives_the_answer_of_the_rfc() -> None:
    digest = Digest("Mufasa", "Circle of Life").at("http://h")
    digest.learn(RFC_7616[1:])
    said = digest.header("GET", "/dir/index.html", nonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert said is not None
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in said


def test_digest_does_not_answer_the_same_challenge_twice_unless_it_is_stale() -> None:
    digest = Digest("u", "p").at("http://h")
    challenge = 'Digest realm="r", nonce="n", qop="auth"'
    assert digest.learn([challenge])
    digest.header("GET", "/")
    assert not digest.learn([challenge])
    assert digest.learn([challenge + ", stale=true"])


def test_digest_counts_its_uses_of_a_nonce() -> None:
    digest = Digest("u", "p").at("http://h")
    digest.learn(['Digest realm="r", nonce="n", qop="auth"'])
    said = [digest.header("GET", "/") or "" for _ in range(2)]
    assert ["nc=00000001" in said[0], "nc=00000002" in said[1]] == [True, True]


def test_digest_hides_the_name_behind_the_strongest_hash_where_the_server_asks_for_that() -> None:
    # RFC 7616, section 3.9.2, as erratum 4897 has it
    digest = Digest("J\u00e4s\u00f8n Doe", "Secret, or not?").at("http://h")
    challenge = (
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, charset=UTF-8, userhash=true, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS"'
    )
    digest.learn([challenge])
    said = digest.header("GET", "/doe.json", nonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v") or ""
    assert 'username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"' in said
    assert 'response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"' in said
    assert "userhash=true" in said


def test_digest_sends_a_realm_back_byte_by_byte() -> None:
    digest = Digest("u", "\u00e9").at("http://h")
    realm = "gesch\u00fctzt".encode()
    digest.learn([f'Digest realm="{realm.decode("latin-1")}", nonce="n", qop="auth"'])
    said = (digest.header("GET", "/", nonce="c") or "").encode("latin-1")
    assert b'realm="' + realm + b'"' in said
    secret = md5_of("u:gesch\u00fctzt:\u00e9")
    response = md5_of(f"{secret}:n:00000001:c:auth:{md5_of('GET:/')}")
    assert f'response="{response}"'.encode() in said


def test_digest_keeps_the_key_of_a_session() -> None:
    digest = Digest("u", "p").at("http://h")
    digest.learn(['Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess'])
    digest.header("GET", "/first")
    said = digest.header("GET", "/second") or ""
    (cnonce,) = {re.findall('cnonce="(.*?)"', each)[0] for each in (said, digest.header("GET", "/third") or "")}
    secret, what = md5_of(f"{md5_of('u:r:p')}:n:{cnonce}"), md5_of("GET:/second")
    response = md5_of(f"{secret}:n:00000002:{cnonce}:auth:{what}")
    assert f'response="{response}"' in said
    assert digest.learn(['Digest realm="r", nonce="n2", qop="auth", algorithm=MD5-sess'])
    assert cnonce not in (digest.header("GET", "/") or "")


def md5_of(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize("auth", (Basic("me", "secret"), Bearer("secret"), Digest("me", "secret")))
def test_a_secret_is_not_shown(auth: Auth) -> None:
    assert "secret" not in repr(auth)


def test_a_name_that_no_header_can_hold_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="user's name"):
        Digest("a\r\nb", "p")


@pytest.mark.parametrize(
    ("content", "expected"),
    (
        (b"machine h login u password p", Basic("u", "p")),
        (b"machine h login u", Basic("u", "")),
        (b"machine other login u password p", None),
        (b"default login u password p", Basic("u", "p")),
        (b"machine h login u password p\nwhat is this", r"netrc, line 2: bad follower token 'what'"),
        (b"machine h login \xff\xfe", r"netrc is no text: .+ at byte 16"),  # why, by the locale
    ),
)
def test_a_netrc_file_gives_name_and_password_or_says_what_is_wrong(
    tmp_path: Path, content: bytes, expected: Basic | str | None
) -> None:
    path = tmp_path / "netrc"
    path.write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(LocalProtocolError, match=expected):
            Netrc(str(path))
    else:
        assert Netrc(str(path)).auth("h") == expected


def test_a_netrc_file_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine h login u password p")
    (tmp_path / ".netrc").chmod(0o644)
    with pytest.raises(LocalProtocolError, match=r"^~/.netrc access too permissive"):
        Netrc()


@pytest.mark.parametrize(
    "value", ("", ",,", 'Digest "', 'Digest realm="x', "\x00", "Basic", "=", 'a="b"', "Digest nonce=1")
)
def test_a_broken_challenge_is_no_challenge(value: str) -> None:
    assert not Digest("u", "p").at("http://h").learn([value])


@given(st.text())
def test_challenges_come_to_an_end(text: str) -> None:
    challenges([text])


def test_white_space_in_a_challenge_costs_what_it_is() -> None:
    """A second a header, and the hub stood still, where each run of it was divided in all ways."""
    assert challenges(["Basic" + " " * 8000 + "\x7f"] * 200) == [Challenge("basic", {})] * 200


def test_challenges_of_one_header_are_told_apart() -> None:
    found = challenges(['Basic realm="a, b", Digest realm="c\\"d", nonce=x'])
    assert [(each.scheme, each.parameters) for each in found] == [
        ("basic", {"realm": "a, b"}),
        ("digest", {"realm": 'c"d', "nonce": "x"}),
    ]


# -- cookies


def jar_of(*values: str, url: str = HTTPS.text) -> CookieJar:
    jar = CookieJar()
    jar.take(read_url(url), values, NOW)
    return jar


@pytest.mark.parametrize(
    ("value", "asked", "sent"),
    (
        ("a=1", "https://www.example.co.uk/shop/", "a=1"),
        ("a=1", "https://www.example.co.uk/", None),
        ("a=1", "https://www.example.co.uk/shopping", None),
        ("a=1; Path=/", "https://www.example.co.uk/x", "a=1"),
        ("a=1; Path=/", "https://sub.www.example.co.uk/x", None),
        ("a=1; Path=/; Domain=example.co.uk", "https://other.example.co.uk/", "a=1"),
        ("a=1; Path=/; Domain=.EXAMPLE.co.uk", "https://example.co.uk/", "a=1"),
        ("a=1; Path=/; Domain=example.co.uk", "https://notexample.co.uk/", None),
        ("a=1; Path=/; Domain=co.uk", "https://www.example.co.uk/", None),
        ("a=1; Path=/; Domain=other.org", "https://other.org/", None),
        ("a=1; Path=/; Secure", "http://www.example.co.uk/", None),
        ("a=1; Path=/; Max-Age=0", "https://www.example.co.uk/", None),
        ("a=1; Path=/; Max-Age=-5", "https://www.example.co.uk/", None),
        ("a=1; Path=/; Expires=Wed, 21 Oct 2015 07:28:00 GMT", "https://www.example.co.uk/", None),
        ("a=1; Path=/; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "https://www.example.co.uk/", "a=1"),
        ("a=1\r\nb; Path=/", "https://www.example.co.uk/", None),
        ("a=\x01; Path=/", "https://www.example.co.uk/", None),
        (f"a={'x' * 4100}; Path=/", "https://www.example.co.uk/", None),
        ("__Host-a=1; Path=/; Secure", "https://www.example.co.uk/", "__Host-a=1"),
        ("__Host-a=1; Path=/", "https://www.example.co.uk/", None),
        ("__Host-a=1; Path=/; Secure; Domain=example.co.uk", "https://www.example.co.uk/", None),
        ("__Secure-a=1; Path=/", "https://www.example.co.uk/", None),
        ("=v; Path=/", "https://www.example.co.uk/", "v"),
        (";;", "https://www.example.co.uk/", None),
    ),
)
def test_a_cookie_goes_where_the_rules_send_it(value: str, asked: str, sent: str | None) -> None:
    assert jar_of(value).header(read_url(asked), NOW) == sent


def test_a_cookie_in_the_clear_neither_sets_nor_hides_a_secure_one() -> None:
    jar = jar_of("a=1; Path=/; Secure")
    jar.take(HTTP, ["a=2; Path=/", "b=3; Path=/; Secure"], NOW)
    assert jar.header(HTTPS, NOW) == "a=1"


def test_a_cookie_in_the_clear_does_not_end_a_secure_one() -> None:
    jar = jar_of("a=1; Path=/; Secure")
    jar.take(HTTP, ["a=; Path=/; Max-Age=0"], NOW)
    assert jar.header(HTTPS, NOW) == "a=1"


def test_a_cookie_in_the_clear_does_not_stand_beside_a_secure_one_of_a_host_below() -> None:
    """RFC 6265bis, section 5.7: the domains need not be the same, only one of them be under the other."""
    jar = jar_of("a=1; Path=/; Secure")
    jar.take(read_url("http://other.example.co.uk/"), ["a=2; Path=/; Domain=example.co.uk"], NOW)
    assert jar.header(HTTPS, NOW) == "a=1"


def test_an_age_of_any_length_is_as_much_as_is_kept() -> None:
    (cookie,) = jar_of("a=1; Max-Age=99999999999999999999")
    assert cookie.expires == NOW + MAX_AGE_S


def test_longer_paths_come_first_and_cookies_end() -> None:
    jar = jar_of("a=1; Path=/", "b=2; Path=/shop; Max-Age=10")
    assert jar.header(HTTPS, NOW) == "b=2; a=1"
    assert jar.header(HTTPS, NOW + 11) == "a=1"
    assert len(jar) == 1


def test_many_cookies_and_long_ones_are_bounded() -> None:
    jar = jar_of(*(f"c{number}={'x' * 500}; Path=/" for number in range(2000)))
    assert len(jar) == MAX_PER_HOST
    header = jar.header(HTTPS, NOW)
    assert header is not None
    assert len(header) < 8192


def test_no_more_cookies_are_taken_of_an_answer_than_one_may_set() -> None:
    assert len(jar_of(*(f"c{number}=1; Path=/{number}" for number in range(MAX_PER_ANSWER)))) == MAX_PER_HOST
    jar = jar_of(*["a=1"] * MAX_PER_ANSWER, "b=2")
    assert [cookie.name for cookie in jar] == ["a"]


def test_an_address_is_no_domain() -> None:
    jar = jar_of("a=1; Domain=0.0.1", "b=1; Domain=127.0.0.1", url="http://127.0.0.1/")
    assert jar.header(read_url("http://127.0.0.1/"), NOW) == "b=1"
    assert jar.header(read_url("http://x.127.0.0.1/"), NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    (
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 1445412480.0),
        ("21 oct 2015 7:28:0", 1445412480.0),
        ("Wed, 21 Oct 2015 25:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:99:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 1500 07:28:00 GMT", None),
        ("soon", None),
    ),
)
def test_dates_of_cookies_are_read_as_browsers_read_them(text: str, seconds: float | None) -> None:
    assert cookie_date(text) == seconds


def test_cookies_txt_is_read() -> None:
    lines = [
        "# Netscape\n",
        "#HttpOnly_.example.co.uk\tTRUE\t/\tFALSE\t0\ta\t1\n",
        "h\tFALSE\t/\tTRUE\t5\tb\t2\n",
        "x\n",
    ]
    jar = CookieJar(read_cookies_txt(lines))
    assert jar.header(HTTP, NOW) == "a=1"
    assert len(jar) == 2


# -- proxies


@pytest.mark.parametrize(
    ("none", "host", "port", "covered"),
    (
        ("example.com", "example.com", 80, True),
        ("example.com", "www.example.com", 80, True),
        (".example.com", "example.com", 80, True),
        ("*.example.com", "www.example.com", 80, True),
        ("example.com", "notexample.com", 80, False),
        ("EXAMPLE.com:8080", "example.com", 8080, True),
        ("example.com:8080", "example.com", 80, False),
        ("a, b c", "c", 80, True),
        ("*", "anything", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("192.168.1.1", "192.168.1.1", 80, True),
        ("192.168.1.1:81", "192.168.1.1", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("2001:db8::/32", "2001:db8::7", 80, True),
        ("example.com", "example.com.", 80, True),
        ("", "example.com", 80, False),
    ),
)
def test_no_proxy_is_read_in_full(none: str, host: str, port: int, covered: bool) -> None:
    assert NoProxy(none).covers(host, port) is covered


def test_the_environment_names_proxies_as_curl_reads_it() -> None:
    environ = {"http_proxy": "p:1", "HTTPS_PROXY": "socks5h://u:p%40@q", "NO_PROXY": "direct", "HTTP_PROXY": "evil:1"}
    proxies = Proxies.of_environment(environ)
    assert repr(proxies.choose(read_url("http://h/").origin)) == "<Proxy http://p:1>"
    assert str(proxies.choose(read_url("http://h/").origin)) == "the proxy http://p:1"
    https = proxies.choose(read_url("https://h/").origin)
    assert https is not None
    assert (https.host, https.port, https.credentials) == ("q", 1080, b"u:p@")
    assert proxies.choose(read_url("http://direct/").origin) is None
    assert Proxies.of_environment({"HTTP_PROXY": "evil:1"}).choose(read_url("http://h/").origin) is None


@pytest.mark.parametrize(
    "text", ("ftp://u:secret@h", "http://u:secret@:1", "http://u:secret@h:99999", "u:secret@h\r\n:1")
)
def test_a_proxy_that_cannot_be_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        read_proxy(text)
    assert "secret" not in str(caught.value)


def play(conversation: Conversation, *replies: bytes) -> tuple[list[bytes], bytes]:
    """Return what a conversation sent, and what came behind the proxy's answer."""
    sent = [next(conversation)]
    try:
        for reply in replies:
            sent += [conversation.send(reply)]
    except StopIteration as end:
        return [data for data in sent if data], end.value
    raise AssertionError("the conversation wants more")


def test_a_tunnel_is_asked_for_with_credentials() -> None:
    proxy = read_proxy("http://u:p@proxy:3128")
    sent, rest = play(tunnel(proxy, "::1", 443, "x/1"), b"HTTP/1.1 200 OK\r\n", b"A: b\r\n\r\n")
    assert sent == [
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nUser-Agent: x/1\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
    ]
    assert rest == b""


@pytest.mark.parametrize(
    ("replies", "match"),
    (
        ([b"HTTP/1.1 407 No\r\n\r\n"], "407 .*user and password"),
        ([b"HTTP/1.1 502 No\r\n\r\n"], "502"),
        ([b"SSH-2.0\r\n\r\n"], "not answer CONNECT in HTTP"),
        ([b"HTTP/1.1 200", b""], "hung up"),
        ([b"HTTP/1.1 200\r\n" + b"a" * 70000, b"a"], "without end"),
    ),
)
def test_a_tunnel_that_is_not_opened_is_a_proxy_error(replies: list[bytes], match: str) -> None:
    with pytest.raises(ProxyError, match=match):
        play(tunnel(read_proxy("p"), "h", 443, ""), *replies)


@pytest.mark.parametrize("size", (1, 99))
def test_socks_logs_in_and_asks_for_the_name(size: int) -> None:
    whole = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
    starts = [0, 2, 4]
    pieces = [whole[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    if size == 1:
        pieces = [bytes([byte]) for byte in whole]
    sent, rest = play(socks(read_proxy("socks5h://user:pw@p"), "name.test", 80), *pieces)
    assert sent == [b"\x05\x02\x00\x02", b"\x01\x04user\x02pw", b"\x05\x01\x00\x03\x09name.test\x00\x50"]
    assert rest == b""


@pytest.mark.parametrize(
    ("replies", "match"),
    (
        ([b"HT"], "not speak SOCKS5"),
        ([b"\x05\xff"], "none of our ways"),
        ([b"\x05", b""], "hung up"),
        ([b"\x05\x00", b"\x05\x04\x00\x01\x00"], "host unreachable"),
        ([b"\x05\x00", b"\x05\x00\x00\x09\x00"], "unknown kind"),
    ),
)
def test_socks_that_refuses_is_a_proxy_error(replies: list[bytes], match: str) -> None:
    with pytest.raises(ProxyError, match=match):
        play(socks(read_proxy("socks5://p"), "10.0.0.1", 80), *replies)


# -- retries


@pytest.mark.parametrize(
    ("value", "seconds"),
    (
        ("5", 5.0),
        (" 5 ", 5.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("²", None),
        (formatdate(NOW + 60, usegmt=True), 60.0),
        (formatdate(NOW - 60, usegmt=True), 0.0),
    ),
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": (value,)}, NOW) == seconds


@pytest.fixture
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_tokyo")
@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_a_date_is_not_in_our_own_time(zone: str) -> None:
    assert retry_after({"retry-after": (f"Thu, 01 Jan 1970 00:01:00 {zone}",)}, now=0.0) == 60.0


def test_pauses_double_within_their_limit_and_are_drawn_from_the_upper_half() -> None:
    policy = RetryPolicy(retries=9, first_pause=1.0, longest_pause=5.0)
    assert [policy.pause(attempt, {}, random=lambda: 0.0, now=NOW) for attempt in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 2.5]
    assert policy.pause(4, {}, random=lambda: 1.0, now=NOW) == 5.0


def test_retry_after_is_obeyed_up_to_a_limit() -> None:
    policy = RetryPolicy(retries=1, longest_retry_after=10.0)
    pauses = [
        policy.pause(1, {"retry-after": (value,)}, random=lambda: 0.0, now=NOW) for value in ("9", "11", "9" * 5000)
    ]
    assert pauses == [9.0, None, None]


def test_only_what_may_pass_is_tried_again_and_not_for_ever() -> None:
    policy = RetryPolicy(retries=2)
    assert policy.wants(1, status=503, error=None)
    assert policy.wants(2, status=None, error=ConnectError("refused"))
    assert not policy.wants(3, status=503, error=None)
    assert not policy.wants(1, status=404, error=None)
    assert not policy.wants(1, status=None, error=TlsError("expired"))
    assert not policy.wants(1, status=None, error=ForbiddenAddress("inside"))


# -- addresses, certificates, charsets


@pytest.mark.parametrize(
    "text",
    (
        "127.0.0.1",
        "10.1.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ),
)
def test_addresses_that_lead_inside_are_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"))
def test_other_addresses_are_public(text: str) -> None:
    assert is_public(text)


def test_a_pin_is_of_the_certificate_or_of_its_key() -> None:
    issued = trustme.CA().issue_cert("h").cert_chain_pems[0].bytes()
    from_pem = ssl.PEM_cert_to_DER_cert(issued.decode())
    key = public_key(from_pem)
    assert key is not None
    for digest in (hashlib.sha256(from_pem), hashlib.sha256(key)):
        check_pins(from_pem, frozenset({read_pin(digest.hexdigest())}), "h")
    with pytest.raises(TlsError, match="not the pinned one"):
        check_pins(from_pem, frozenset({bytes(32)}), "h")


@given(st.binary(max_size=200))
def test_the_key_of_any_bytes_is_looked_for_within_them(data: bytes) -> None:
    public_key(data)


@pytest.mark.parametrize("text", ("", "sha256//xx", "zz" * 32, "aa" * 31))
def test_a_pin_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        read_pin(text)


@pytest.mark.parametrize(
    ("body", "content_type", "charset"),
    (
        (b"\xef\xbb\xbfx", "text/html; charset=latin-1", "utf-8"),
        (b"\xff\xfex\x00", None, "utf-16-le"),
        (b"x", "text/html; charset=ISO-8859-1", "cp1252"),
        (b"x", 'text/html; charset="gb2312"', "gb18030"),
        (b"x", "text/html; charset=no-such", "utf-8"),
        (b"x", "text/html; charset=zlib", "utf-8"),
        (b"x", "text/html; charset=rot13", "utf-8"),
        (b"x", "text/html; charset=idna", "utf-8"),
        (b"x", "text/html; charset=a\x00b", "utf-8"),
        (b'<meta charset="koi8-r">', None, "koi8-r"),
        (b'<?xml version="1.0" encoding="shift_jis"?>', None, "cp932"),
        (b'<meta charset="utf-16">', None, "utf-8"),
        (b"\xe9x", None, "cp1252"),
        ("é".encode(), None, "utf-8"),
        ("é".encode()[:1], None, "utf-8"),
    ),
)
def test_a_charset_is_found_as_browsers_find_it(body: bytes, content_type: str | None, charset: str) -> None:
    assert find_charset(body, content_type) == charset


@given(st.binary(), st.text())
def test_any_body_becomes_text(body: bytes, content_type: str) -> None:
    decode_text(body, content_type)


# -- names


@pytest.mark.parametrize("host", ("127.0.0.1", "0.0.0.0", "255.255.255.255"))
def test_an_address_is_answered_without_a_resolver(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.http.connector.green_dns", None)
    assert resolve_name(host, 80, 1.0) == [Address(AF_INET, (host, 80))]


@pytest.mark.parametrize("host", ("127.1", "127.0.0.01", "1.2.3.4.", "a.test", "::1", "127.0.0.1 ", "1.2.3.4\0"))
def test_what_only_looks_like_an_address_is_asked_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def find(host: str, port: int, family: int, **_: object) -> list[object]:
        asked.append(host)
        return [(AF_INET, 0, 0, "", ("192.0.2.1", port))]

    monkeypatch.setattr("greenprobe.http.connector.green_dns", SimpleNamespace(find_to_connect=find))
    assert resolve_name(host, 80, 1.0) == [Address(AF_INET, ("192.0.2.1", 80))]
    assert asked == [host]
