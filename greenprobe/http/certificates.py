"""What a certificate and a TLS connection say about themselves: plain facts for a record.

OpenSSL gives the names of a certificate that it verified; of one it did not (`--insecure`), only the bytes. The public
key is found in them by walking the DER tree, which takes a dozen lines and no package. Sources: RFC 5280, section 4.1;
X.690, section 8.1.
"""

from collections.abc import Mapping
from hashlib import sha256
from ssl import SSLObject, cert_time_to_seconds
from typing import Any, NamedTuple

__all__ = ["CertificateFacts", "TlsFacts", "facts_of", "public_key"]


class CertificateFacts(NamedTuple):
    """A server's certificate. Names are None where it was not verified; `expires` is Unix time."""

    sha256: str
    subject: str | None = None
    issuer: str | None = None
    names: tuple[str, ...] | None = None
    starts: float | None = None
    expires: float | None = None


class TlsFacts(NamedTuple):
    """How a connection speaks TLS, and with whom."""

    version: str | None
    cipher: str | None
    alpn: str | None
    is_resumed: bool
    certificate: CertificateFacts | None


def facts_of(tls: SSLObject) -> TlsFacts:
    """Return what is known of a connection after its handshake."""
    cipher = tls.cipher()
    der = tls.getpeercert(binary_form=True)
    certificate = None if der is None else certificate_facts(der, tls.getpeercert() or {})
    return TlsFacts(
        tls.version(), cipher and cipher[0], tls.selected_alpn_protocol(), bool(tls.session_reused), certificate
    )


def certificate_facts(der: bytes, verified: Mapping[str, Any]) -> CertificateFacts:
    """Return the facts of a certificate: its bytes, and what `SSLSocket.getpeercert()` says of it."""
    digest = sha256(der).hexdigest()
    if not verified:
        return CertificateFacts(digest)
    names = tuple(str(value) for _, value in verified.get("subjectAltName", ()))
    starts, expires = (cert_time_to_seconds(verified[key]) if key in verified else None for key in DATES)
    return CertificateFacts(digest, _name(verified, "subject"), _name(verified, "issuer"), names, starts, expires)


DATES = ("notBefore", "notAfter")


def _name(verified: Mapping[str, Any], which: str) -> str:
    """Return a distinguished name on one line."""
    pairs = [pair for relative in verified.get(which, ()) for pair in relative]
    return ", ".join(f"{key}={value}" for key, value in pairs)


def public_key(der: bytes) -> bytes | None:
    """Return the SubjectPublicKeyInfo of a certificate, as DER; None if the certificate cannot be walked."""
    try:
        start, _ = _inside(der, 0)  # Certificate
        place, _ = _inside(der, start)  # TBSCertificate
        if der[place] == 0xA0:  # version, which an old certificate leaves out
            place = _end(der, place)
        for _ in range(5):  # serial number, signature, issuer, validity, subject
            place = _end(der, place)
        return der[place : _end(der, place)]
    except IndexError:
        return None


def _inside(der: bytes, place: int) -> tuple[int, int]:
    """Return where the contents of the element at `place` begin and end."""
    length = der[place + 1]
    start = place + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if start + length > len(der):
        raise IndexError("the element is longer than the certificate")
    return start, start + length


def _end(der: bytes, place: int) -> int:
    return _inside(der, place)[1]
