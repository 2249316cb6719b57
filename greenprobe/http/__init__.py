"""The HTTP client for scripts: its public names, each loaded when it is first asked for (PEP 562).

from greenprobe.http import Client
"""

import sys
from typing import TYPE_CHECKING

_MODULES = {
    "auth": "Basic Bearer Digest Netrc",
    "bodies": "BytesBody FileBody FilePart MultipartBody StreamBody",
    "client": "Client",
    "conditional": "revalidation",
    "cookies": "CookieJar cookies_txt read_cookies_txt",
    "options": "ClientOptions Hooks",
    "proxy": "NoProxy Proxies read_proxy",
    "request": "Request",
    "response": "Response StatusError StreamedResponse",
    "retries": "RetryPolicy",
    "routes": "Routes read_detour read_known",
    "trace": "Trace",
    "trust": "TlsOptions read_pin tls_context",
    "urls": "read_url",
}
_WHERE = {name: f"greenprobe.http.{module}" for module, names in _MODULES.items() for name in names.split()}

__all__ = [*_WHERE]  # noqa: PLE0604 - strings, all of them

if TYPE_CHECKING:
    from greenprobe.http.auth import Basic as Basic, Bearer as Bearer, Digest as Digest, Netrc as Netrc
    from greenprobe.http.bodies import (
        BytesBody as BytesBody,
        FileBody as FileBody,
        FilePart as FilePart,
        MultipartBody as MultipartBody,
        StreamBody as StreamBody,
    )
    from greenprobe.http.client import Client as Client
    from greenprobe.http.conditional import revalidation as revalidation
    from greenprobe.http.cookies import (
        CookieJar as CookieJar,
        cookies_txt as cookies_txt,
        read_cookies_txt as read_cookies_txt,
    )
    from greenprobe.http.options import ClientOptions as ClientOptions, Hooks as Hooks
    from greenprobe.http.proxy import NoProxy as NoProxy, Proxies as Proxies, read_proxy as read_proxy
    from greenprobe.http.request import Request as Request
    from greenprobe.http.response import (
        Response as Response,
        StatusError as StatusError,
        StreamedResponse as StreamedResponse,
    )
    from greenprobe.http.retries import RetryPolicy as RetryPolicy
    from greenprobe.http.routes import Routes as Routes, read_detour as read_detour, read_known as read_known
    from greenprobe.http.trace import Trace as Trace
    from greenprobe.http.trust import TlsOptions as TlsOptions, read_pin as read_pin, tls_context as tls_context
    from greenprobe.http.urls import read_url as read_url


def __getattr__(name: str) -> object:
    try:
        module = _WHERE[name]
    except KeyError:
        raise AttributeError(f"module 'greenprobe.http' has no attribute {name!r}") from None
    __import__(module)
    value = globals()[name] = getattr(sys.modules[module], name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
