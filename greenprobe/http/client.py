"""Fetching: redirects, authorization, cookies and retries around single requests; and the methods for scripts.

    with Client() as client:
        page = client.get("http://127.0.0.1/")
        print(page.status, page.text)

Every fetch has a total deadline for each attempt. What happened is in a Trace, also of a fetch that failed. Errors are
FetchErrors, or PoolTimeout. A client belongs to one hub; any number of its greenthreads may use it at once.

A plain GET of a client without policies goes straight to `Transport.visit`, or shorter, by `plain_gets`. Everything
else runs as a `_Course`, which knows which answer is the last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from random import random
from ssl import SSLContext
from time import time
from types import TracebackType
from typing import IO, Any, Final, Self, cast

from greenprobe.errors import FetchError, PoolTimeout, ProxyError, RedirectError
from greenprobe.http.auth import Auth, Basic, Turn
from greenprobe.http.bodies import (
    BytesBody,
    FileBody,
    FilePart,
    MultipartBody,
    RequestBody,
    StreamBody,
    form_body,
    json_body,
)
from greenprobe.http.connections import connect_tcp
from greenprobe.http.connector import Connect, Resolve, resolve_name
from greenprobe.http.decoding import Sink
from greenprobe.http.exchange import REDIRECTS, OpenSink, is_redirect
from greenprobe.http.options import ClientOptions, Hooks
from greenprobe.http.plain_gets import PARTIAL, PlainGets, Unfinished
from greenprobe.http.ranges import check_range
from greenprobe.http.request import ORIGIN_HEADERS, Fields, Request, checked_fields
from greenprobe.http.response import Response, StreamedResponse
from greenprobe.http.trace import Trace
from greenprobe.http.transport import PLAIN, Transport
from greenprobe.http.trust import Trust
from greenprobe.http.urls import join_redirect, read_url
from greenprobe.hub import Hub, get_hub
from greenprobe.lazy import Lazy

__all__ = ["Client", "ClientOptions"]

sharing = Lazy("greenprobe.http.sharing")

MAX_CHALLENGES: Final = 2  # a nonce may have grown stale in between
NO_HOOKS: Final = Hooks()

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Content = bytes | str | IO[bytes] | Iterable[bytes] | RequestBody


class Client:
    """Fetches URLs over pooled connections, for any number of greenthreads of one thread. A context manager.

    Answers are returned whatever their status; what fails raises a FetchError that says how. `options` are bounds and
    policies.
    """

    def __init__(
        self,
        options: ClientOptions | None = None,
        *,
        hub: Hub | None = None,
        trust: Callable[[], SSLContext] | SSLContext | None = None,
        resolve: Resolve = resolve_name,
        connect: Connect = connect_tcp,
    ) -> None:
        """`trust` is called once, when the first https URL needs it: a `trust.Trust`, or what makes any context.

        It may be a context as well. Raises LocalProtocolError for headers that cannot be sent.
        """
        if not isinstance(options, ClientOptions | None):
            raise TypeError(f"{options!r} are no ClientOptions")
        self._hub = hub or get_hub()
        self._options = options = options or ClientOptions()
        checked_fields((("User-Agent", options.user_agent), *options.headers))
        self._own = own = tuple(pair for pair in options.headers if pair[0].lower() in ORIGIN_HEADERS)
        self._range = next((value for name, value in options.headers if name.lower() == "range"), None)
        self._hooks = options.hooks or NO_HOOKS
        make: type[Transport] = sharing.SharingTransport if options.http2 else Transport
        self._transport = make(self._hub, without_own(options), trust=making(trust), resolve=resolve, connect=connect)
        self.lanes = self._transport.lanes
        keeps_cookies = options.cookies is not None
        policies = (own, options.auth, options.netrc, options.proxies, keeps_cookies, options.hooks)
        self._is_plain = not any(policies) and not options.retries.retries
        self.plain_gets: PlainGets | None = None  # the short way, where no policy and no archive asks for another
        if self._is_plain and not options.http2 and not options.records_exchanges:
            self.plain_gets = PlainGets(self._hub, self.lanes, options, self._transport.open)

    # -- for engines: what comes of it is in the trace

    def fetch(
        self,
        trace: Trace,
        sink: Sink | None = None,
        request: Request | None = None,
        *,
        open_sink: OpenSink | None = None,
        opens_once: bool = False,
    ) -> None:
        """Fetch the URL of `trace`, follow its redirects, and hand the last answer's decoded body to `sink`.

        `open_sink` instead is called with the trace when the head of that answer is there, and returns the sink or
        None; if it is called again, the attempt before has failed, and the body begins anew. With `opens_once` it is
        not: an attempt that fails behind the head is the last. Raises FetchError or PoolTimeout; `trace` then holds
        what was learned before.
        """
        if sink is not None:
            open_sink = lambda _: sink  # noqa: E731 - a def would shadow the parameter
        if request is not None or not self._is_plain or trace.url.credentials is not None:
            _Course(self, trace, request or PLAIN, open_sink, opens_once=opens_once).run()
            return
        self._transport.visit(trace, open_sink)
        self._settle(trace, open_sink)

    def finish(self, unfinished: Unfinished) -> None:
        """Go on with a fetch that began on the short way, `plain_gets`. Raises as `fetch` does."""
        self._transport.finish(unfinished)
        self._settle(unfinished.trace, None)

    def _settle(self, trace: Trace, open_sink: OpenSink | None) -> None:
        """Do the rest of a plain fetch whose first answer is in `trace`."""
        while trace.status in REDIRECTS and is_redirect(trace):
            self._follow(trace)
            self._transport.visit(trace, open_sink)
        if trace.status == PARTIAL:
            check_range(self._range, trace)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- for scripts

    def get(self, url: str, *, headers: Headers = (), auth: Auth | tuple[str, str] | None = None) -> Response:
        """GET a URL and return its answer, whatever its status. Raises FetchError or PoolTimeout."""
        return self.request("GET", url, headers=headers, auth=auth)

    def head(self, url: str, *, headers: Headers = (), auth: Auth | tuple[str, str] | None = None) -> Response:
        """HEAD a URL."""
        return self.request("HEAD", url, headers=headers, auth=auth)

    def post(self, url: str, content: Content | None = None, **options: Any) -> Response:
        """POST to a URL; the options are those of `request`."""
        return self.request("POST", url, content, **options)

    def put(self, url: str, content: Content | None = None, **options: Any) -> Response:
        """PUT to a URL; the options are those of `request`."""
        return self.request("PUT", url, content, **options)

    def delete(self, url: str, **options: Any) -> Response:
        """DELETE a URL; the options are those of `request`."""
        return self.request("DELETE", url, **options)

    def request(self, method: str, url: str, content: Content | None = None, **options: Any) -> Response:
        """Send a request and return its answer, whatever its status.

        `content` is the body: bytes, text, a binary file, an iterable of pieces. Options: `headers`, `auth` (an Auth,
        or user and password), and in place of `content` one of `json`, `form` (a mapping) and `files` (a mapping of
        field names to FileParts, beside `form`); `expects_continue`. Raises UrlError, FetchError, PoolTimeout, or
        LocalProtocolError for what cannot be sent.
        """
        body = bytearray()

        def opened(_: Trace) -> Sink:
            body.clear()
            return body.extend

        trace = Trace(read_url(url))
        self.fetch(trace, None, built(method, content, **options), open_sink=opened)
        return Response(trace, bytes(body))

    def stream(self, method: str, url: str, content: Content | None = None, **options: Any) -> StreamedResponse:
        """Send a request and return its answer as soon as its head is there; use it in a `with`, iterate for the body.

        Arguments and errors are those of `request`.
        """
        trace = Trace(read_url(url))
        request = built(method, content, **options)
        fetch = partial(self.fetch, trace, None, request, opens_once=True)
        return StreamedResponse(trace, lambda opened: fetch(open_sink=opened))

    # -- redirects

    def _follow(self, trace: Trace) -> bool:
        """Go where the answer leads; tell whether that is the same origin."""
        options = self._options
        base = trace.url
        if len(trace.hops) >= options.max_redirects:
            raise RedirectError(f"more than {options.max_redirects} redirects; the last is from {base.text}")
        url = join_redirect(base, trace.headers["location"][0], allows_downgrade=options.allows_downgrade)
        is_same = url.origin.key == base.origin.key
        if is_same and base.credentials is not None:
            url = url._replace(credentials=base.credentials)
        trace.redirect(url)
        return is_same


class _Course:
    """One fetch with everything: attempts, in each of them hops, in each of them challenges."""

    __slots__ = ("_attempt", "_client", "_goes_on", "_is_last", "_open_sink", "_opens_once", "_options",
                 "_original", "_request", "_trace", "_turn")  # fmt: skip

    def __init__(
        self, client: Client, trace: Trace, request: Request, open_sink: OpenSink | None, *, opens_once: bool
    ) -> None:
        self._client = client
        self._options = client._options
        self._trace = trace
        self._attempt = 1
        self._goes_on = False
        self._open_sink = open_sink
        self._opens_once = opens_once
        self._is_last = False  # whatever comes of this attempt
        self._turn: Turn | None = None  # who we are to whom we ask just now
        auth = request.auth or self._options.auth
        given = {name.lower() for name, _ in request.fields}
        fields = (*request.fields, *(pair for pair in client._own if pair[0].lower() not in given))
        self._original = self._request = request._replace(auth=auth, fields=fields)

    def run(self) -> None:
        """Fetch, again and again if the policy says so. Raises the last error."""
        trace, hooks = self._trace, self._client._hooks
        first_url = trace.url
        while True:
            error = self._try_once()
            pause = self._pause(error)
            if pause is None:
                break
            if hooks.retry is not None:
                hooks.retry(trace, pause)
            self._client._hub.sleep(pause)
            trace.restart(first_url)
            self._request = self._original
            self._attempt += 1
        if hooks.done is not None:
            hooks.done(trace, error)
        if error is not None:
            raise error

    def _try_once(self) -> FetchError | PoolTimeout | None:
        trace = self._trace
        try:
            self._ask()
            while trace.status in REDIRECTS and is_redirect(trace):
                self._follow()
                self._ask()
        except (FetchError, PoolTimeout) as exc:
            return exc
        return None

    def _follow(self) -> None:
        trace, status = self._trace, self._trace.status
        if self._client._hooks.redirect is not None:
            self._client._hooks.redirect(trace)
        is_same = self._client._follow(trace)
        assert status is not None
        self._request = self._request.redirected(status, same_origin=is_same)
        body = self._request.body
        if body is not None and not body.can_repeat:
            raise RedirectError(f"redirected with {status} to {trace.url.text}, but the body cannot be sent twice")

    def _ask(self) -> None:
        """Send one request, again if its answer is a challenge that we can meet."""
        client, trace = self._client, self._trace
        auth = auth_of(trace, self._request, self._options)
        self._turn = auth.at(trace.url.origin.key) if auth is not None else None
        for challenge in range(MAX_CHALLENGES + 1):
            self._goes_on = False
            extra = self._extra()
            if client._hooks.request is not None:
                client._hooks.request(trace)
            client._transport.visit(trace, partial(self._opened, challenge), self._request, extra)
            self._learn()
            if not self._goes_on or trace.status != 401:
                return
            trace.forget_answer()

    def _opened(self, challenge: int, trace: Trace) -> Sink | None:
        """The head of an answer is there that is no redirect: look what it means, and who wants its body."""
        request = self._request
        is_challenge = trace.status == 401 and challenge < MAX_CHALLENGES
        if is_challenge and self._turn is not None and (request.body is None or request.body.can_repeat):
            self._goes_on = self._turn.learn(trace.headers.get("www-authenticate", ()))
        check_range(request.value("range") or self._client._range, trace)
        if self._open_sink is None or self._goes_on or self._pause(None) is not None:
            return None
        self._is_last = self._opens_once
        return self._open_sink(trace)

    def _pause(self, error: FetchError | PoolTimeout | None) -> float | None:
        """Return how long to wait before the next attempt; None if what has come so far is the end."""
        retries, trace = self._options.retries, self._trace
        if self._is_last or not self._original.can_repeat:
            return None
        if not retries.wants(self._attempt, status=trace.status, error=error):
            return None
        return retries.pause(self._attempt, trace.headers, random=random, now=time())

    def _learn(self) -> None:
        """Take what an answer says beside its body: cookies, and a proxy's refusal."""
        trace, options = self._trace, self._options
        if options.cookies is not None and "set-cookie" in trace.headers:
            options.cookies.take(trace.url, trace.headers["set-cookie"], time())
        if self._client._hooks.answer is not None:
            self._client._hooks.answer(trace)
        origin = trace.url.origin
        proxy = options.proxies.choose(origin) if options.proxies is not None else None
        if trace.status == 407 and proxy is not None and proxy.reads(origin):
            raise ProxyError("the proxy answers 407: it wants a user and password")

    def _extra(self) -> Fields:
        """Return the fields that policies add to the next request."""
        trace, request, options = self._trace, self._request, self._options
        fields = []
        if options.cookies is not None:
            cookie = options.cookies.header(trace.url, time())
            if cookie is not None:
                fields.append(("Cookie", cookie))
        if self._turn is not None:
            value = self._turn.header(request.method, trace.url.target.decode())
            if value is not None:
                fields.append(("Authorization", value))
        return tuple(fields)


def auth_of(trace: Trace, request: Request, options: ClientOptions) -> Auth | None:
    """Return who we are to the URL of `trace`: by its own words, the request's, or .netrc."""
    credentials = trace.url.credentials
    if request.auth is not None:
        return request.auth
    if credentials is not None:
        user, _, password = credentials.decode("utf-8", "replace").partition(":")
        return Basic(user, password)
    return options.netrc.auth(trace.url.origin.host) if options.netrc is not None else None


def making(trust: Callable[[], SSLContext] | SSLContext | None) -> Callable[[], SSLContext]:
    """Return what makes the context."""
    return (lambda: trust) if isinstance(trust, SSLContext) else trust or Trust()


def without_own(options: ClientOptions) -> ClientOptions:
    """Return the options without the headers that must not follow a redirect to another origin."""
    return replace(options, headers=tuple(pair for pair in options.headers if pair[0].lower() not in ORIGIN_HEADERS))


def built(
    method: str,
    content: Content | None = None,
    *,
    headers: Headers = (),
    auth: Auth | tuple[str, str] | None = None,
    json: object = None,
    form: Mapping[str, str] | None = None,
    files: Mapping[str, FilePart] | None = None,
    expects_continue: bool = False,
) -> Request:
    """Return the request that the words of a script mean. Raises TypeError for two bodies."""
    if sum(each is not None for each in (content, json, form if files is None else files)) > 1:
        raise TypeError("a request has one body; give content, or json, or form and files")
    body = body_of(content)
    if json is not None:
        body = json_body(json)
    elif files is not None:
        body = MultipartBody((form or {}).items(), files.items())
    elif form is not None:
        body = form_body(form)
    who = Basic(*auth) if isinstance(auth, tuple) and not isinstance(auth, Basic) else auth
    return Request.of(method, headers, body, auth=who, expects_continue=expects_continue)


def body_of(content: Content | None) -> RequestBody | None:
    """Return a body of what a script gives for one."""
    if content is None or isinstance(content, (BytesBody, FileBody, MultipartBody, StreamBody)):
        return content
    if isinstance(content, bytes):
        return BytesBody(content)
    if isinstance(content, str):
        return BytesBody(content.encode(), "text/plain; charset=utf-8")
    if hasattr(content, "read"):
        return FileBody(cast("IO[bytes]", content))
    return StreamBody(cast("Iterable[bytes]", content))
