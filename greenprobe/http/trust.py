"""Which certificates are trusted and how TLS is spoken: the SSLContext for everything that is fetched, and pins."""

import re
import ssl
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import EACCES
from hashlib import sha256
from importlib.util import find_spec
from os.path import dirname, isdir, isfile, join
from typing import Final

from greenprobe.errors import TargetError, TlsError
from greenprobe.http.certificates import public_key

__all__ = ["TLS_VERSIONS", "TlsOptions", "Trust", "check_pins", "read_pin", "tls_context", "tls_reason", "trusting"]

TLS_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
HTTP_1: Final = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to speak TLS.

    `client_cert` is a PEM file with our certificate, and with its key unless `client_key` names another. `server_name`
    stands in for the host's name in SNI and in the check of the certificate. `pins` are SHA-256 digests of the
    certificate or of its public key (see `read_pin`), one of which must be the server's.
    """

    ca_file: str | None = None
    verify: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    min_version: str = "1.2"
    server_name: str | None = None
    pins: frozenset[bytes] = frozenset()


class Trust:
    """Makes the contexts of a client when they are needed; call it for the one that verifies as the options say."""

    def __init__(self, options: TlsOptions | None = None) -> None:
        self._options = options or TlsOptions()
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """Return the context, the same each time. Raises OSError as `tls_context` does."""
        if self._context is None:
            self._context = tls_context(self._options)
        return self._context

    @property
    def verifies(self) -> bool:
        """Tell whether certificates are verified."""
        return self._options.verify

    def unverified(self) -> ssl.SSLContext:
        """Return another context, the same but for verifying nothing."""
        return tls_context(replace(self._options, verify=False))


def tls_context(options: TlsOptions, *, alpn: Iterable[str] = HTTP_1) -> ssl.SSLContext:
    """Return a context as the options say. Raises OSError for a file that cannot be read or holds no certificate."""
    context = trusting(options.ca_file, verify=options.verify, alpn=alpn)
    context.minimum_version = TLS_VERSIONS[options.min_version]
    if options.client_cert is not None:
        _show(context, options.client_cert, options.client_key)
    return context


def _show(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Have a context show our certificate to who asks for one. Raises OSError, also where a pass phrase is needed."""

    def refuse() -> str:
        raise PermissionError(EACCES, "the key is encrypted; decrypt it with openssl pkey -in FILE -out NEW")

    context.load_cert_chain(cert, key, refuse)  # without a function, OpenSSL asks the terminal


def trusting(ca_file: str | None = None, *, verify: bool = True, alpn: Iterable[str] = HTTP_1) -> ssl.SSLContext:
    """Return a context that trusts `ca_file`, or else the system's authorities, or else certifi's.

    Without `verify` it trusts everybody. Raises OSError if `ca_file` cannot be read or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is not None:
        context.load_verify_locations(ca_file)
    else:
        _trust_system(context)
    context.set_alpn_protocols(list(alpn))
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    paths = ssl.get_default_verify_paths()
    if (paths.cafile and isfile(paths.cafile)) or (paths.capath and isdir(paths.capath)):
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(_certifi_bundle())


def _certifi_bundle() -> str:
    """Return certifi's file, without the import: its importlib.resources take 6 ms of every start."""
    found = find_spec("certifi")
    if found is None or found.origin is None:
        raise FileNotFoundError("no certificate authorities found; give some with --ca-file")
    return join(dirname(found.origin), "cacert.pem")


def tls_reason(error: OSError) -> str:
    """Return why a certificate could not be loaded, in words and without OpenSSL's codes."""
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    return "no certificate in it, or no key where it takes one; both must be PEM"


def read_pin(text: str) -> bytes:
    """Return the digest that a pin names: 64 hexadecimal digits, or sha256//BASE64 as curl writes it.

    Raises TargetError.
    """
    digits = text.replace(":", "")
    if re.fullmatch("[0-9A-Fa-f]{64}", digits):
        return bytes.fromhex(digits)
    try:
        digest = b64decode(text.removeprefix("sha256//"), validate=True)
    except Base64Error:
        digest = b""
    if len(digest) != 32:
        raise TargetError(f"the pin {text!r} is no SHA-256; write 64 hexadecimal digits or sha256//BASE64")
    return digest


def check_pins(certificate: bytes | None, pins: frozenset[bytes], host: str) -> None:
    """Raise TlsError unless the certificate (DER), or its public key, is pinned."""
    if not pins:
        return
    if certificate is None:
        raise TlsError(f"{host} shows no certificate to compare with the pin")
    key = public_key(certificate)
    found = {sha256(certificate).digest()} | ({sha256(key).digest()} if key is not None else set())
    if not found & pins:
        seen = sha256(certificate).hexdigest()
        raise TlsError(f"the certificate of {host} is not the pinned one; its SHA-256 is {seen}")
