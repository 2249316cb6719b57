"""Conditional requests: ask for a body only if it is not the one that is known. RFC 9110, sections 8.8 and 13."""

from typing import Final

from greenprobe.http.request import Fields, checked_fields
from greenprobe.http.wire import Headers

__all__ = ["NOT_MODIFIED", "revalidation"]

NOT_MODIFIED: Final = 304
MAX_VALIDATOR_BYTES: Final = 4096

ASKED_BY: Final = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


def revalidation(headers: Headers) -> Fields:
    """Return the fields that ask for what has changed since an answer with these headers; none if they name nothing.

    The answer to a request with them is 304 without a body, or the new one.
    """
    fields = [(asked, headers[name][0]) for name, asked in ASKED_BY.items() if headers.get(name)]
    return checked_fields([field for field in fields if field[1] and len(field[1]) <= MAX_VALIDATOR_BYTES])
