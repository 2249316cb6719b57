"""What a certificate and a TLS connection say about themselves: plain facts for a record.

OpenSSL gives the names of a certificate that it verified; of one it did not (`--insecure`), only the bytes, which the
package `cryptography` reads: its parser is made for hostile input. The public key is found in them by walking the DER
tree, which takes a dozen lines and no package. Sources: RFC 5280, section 4.1; X.690, section 8.1.
"""

from collections.abc import Mapping
from hashlib import sha256
from ssl import SSLObject, cert_time_to_seconds
from typing import Any, Final, NamedTuple

from greenprobe.lazy import Lazy

__all__ = ["CertificateFacts", "TlsFacts", "alternative_names", "facts_of", "public_key"]

x509 = Lazy("cryptography.x509")  # 30 ms, which only who looks at certificates needs


class CertificateFacts(NamedTuple):
    """A server's certificate. All but its hash is None if it cannot be read; `starts` and `expires` are Unix time."""

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
        return unverified_facts(der, digest)
    names = tuple(str(value) for _, value in verified.get("subjectAltName", ()))
    starts, expires = (cert_time_to_seconds(verified[key]) if key in verified else None for key in DATES)
    return CertificateFacts(digest, _name(verified, "subject"), _name(verified, "issuer"), names, starts, expires)


DATES = ("notBefore", "notAfter")


def unverified_facts(der: bytes, digest: str) -> CertificateFacts:
    """Return the facts of a certificate that nobody has looked at, in the words of OpenSSL."""
    try:
        found = x509.load_der_x509_certificate(der)
        dates = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
        subject, issuer = (
            ", ".join(
                f"{LONG_NAMES.get(each.rfc4514_attribute_name, each.oid.dotted_string)}={each.value}" for each in name
            )
            for name in (found.subject, found.issuer)
        )
        return CertificateFacts(digest, subject, issuer, tuple(alternative_names(found)), *dates)
    except (ValueError, TypeError, OverflowError):
        return CertificateFacts(digest)


LONG_NAMES: Final = {
    "CN": "commonName",
    "C": "countryName",
    "ST": "stateOrProvinceName",
    "L": "localityName",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "DC": "domainComponent",
}


def alternative_names(certificate: Any) -> list[str]:
    """Return the names that a certificate (of `cryptography`) is for: of hosts, addresses, mailboxes and URIs."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return []
    kinds = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    return [str(name.value) for name in names if isinstance(name, kinds)]


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
