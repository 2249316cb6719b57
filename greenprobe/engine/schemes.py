"""Hosts without a scheme, where nobody has said which: https, and http where there is no https.

There is none where nobody connects to us, or speaks TLS with us. A certificate that is not to be trusted is an answer:
whoever stands in the way could have sent it, and must not get us to speak in the clear by it.
"""

from ssl import SSLCertVerificationError, SSLError

from greenprobe.errors import ConnectError, ConnectionLost, ForbiddenAddress, ReadTimeout, TlsError
from greenprobe.http.trace import Trace
from greenprobe.http.urls import Url, has_scheme, read_url

__all__ = ["plain_url"]

NO_HTTPS = (ConnectError, ConnectionLost, ReadTimeout)


def plain_url(line: bytes, url: Url, trace: Trace, error: Exception | None) -> Url | None:
    """Return the http URL to ask in place of the https one that `line` was taken for; None if there is no reason."""
    is_ours = url.origin.scheme == "https" and not has_scheme(line)
    if error is None or not is_ours or trace.status is not None or trace.hops or not speaks_no_tls(error):
        return None
    return read_url("http://" + line.decode())


def speaks_no_tls(error: Exception) -> bool:
    """Tell whether an error says that there is no https."""
    if isinstance(error, TlsError):
        return isinstance(error.__cause__, SSLError) and not isinstance(error.__cause__, SSLCertVerificationError)
    return isinstance(error, NO_HTTPS) and not isinstance(error, ForbiddenAddress)
