"""What a TLS server shows: a chain of certificates becomes plain facts.

The package `cryptography` reads them: its parser is made for hostile input. A certificate that it refuses is told by
its hash. Nothing is verified: a scan wants to know what is there, also where it is expired or signed by nobody.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from greenprobe.engine.probes.probe import MAX_ITEMS, Fields, text_of
from greenprobe.http.certificates import alternative_names
from greenprobe.lazy import Lazy

__all__ = ["certificate_fields", "chain_fields"]

MAX_CHAIN: Final = 10
x509 = Lazy("cryptography.x509")  # 30 ms, which only a scan that meets TLS needs
failures = Lazy("cryptography.exceptions")


def chain_fields(chain: Sequence[bytes]) -> Fields:
    """Return the facts of the first certificate, and who signed whom above it. Each is DER."""
    first, *above = chain[:MAX_CHAIN] or [b""]
    return {"certificate": certificate_fields(first), "chain": [_subject(der) for der in above]} if first else {}


def certificate_fields(der: bytes) -> Fields:
    """Return the facts of a certificate in DER; of one that cannot be read, its hash only."""
    facts: Fields = {"sha256": sha256(der).hexdigest()}
    try:
        found = x509.load_der_x509_certificate(der)
        facts |= {
            "subject": _name(found.subject),
            "issuer": _name(found.issuer),
            "names": [text_of(name.encode()) for name in alternative_names(found)[:MAX_ITEMS]],
            "not_before": _time(found.not_valid_before_utc),
            "not_after": _time(found.not_valid_after_utc),
            "serial": f"{found.serial_number:x}",
            "self_signed": found.issuer == found.subject,
            "key": _key(found),
            "signature": found.signature_hash_algorithm.name if found.signature_hash_algorithm else "",
        }
    except (ValueError, TypeError, OverflowError, failures.UnsupportedAlgorithm) as exc:
        facts["unreadable"] = text_of(str(exc).encode())
    return facts


def _subject(der: bytes) -> str:
    return str(certificate_fields(der).get("subject", ""))


def _name(name: Any) -> str:
    return text_of(str(name.rfc4514_string()).encode())


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(found: Any) -> str:
    key = found.public_key()
    kind = type(key).__name__.strip("_").removesuffix("PublicKey")
    curve = getattr(key, "curve", None)
    if curve is not None:
        return f"EC {curve.name}"
    size = getattr(key, "key_size", None)
    return f"{kind} {size}" if size is not None else kind
