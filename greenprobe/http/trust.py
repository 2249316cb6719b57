"""Which certificates are trusted: the SSLContext for everything that is fetched."""

import ssl
from importlib.util import find_spec
from os.path import dirname, isdir, isfile, join

__all__ = ["trusting"]


def trusting(ca_file: str | None = None, *, verify: bool = True) -> ssl.SSLContext:
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
    context.set_alpn_protocols(["http/1.1"])
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
