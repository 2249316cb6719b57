"""Whether to try again, and when: decided from what happened, without a clock or a wait.

The pause doubles with every attempt and is drawn at random from its upper half, so that those who failed together do
not come back together. A Retry-After is obeyed, up to a limit: nobody sleeps for years because a header says so.
"""

import re
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from greenprobe.errors import (
    ConnectError,
    ConnectionLost,
    DnsError,
    ForbiddenAddress,
    IncompleteBody,
    ReadTimeout,
    TotalTimeout,
)
from greenprobe.http.wire import Headers
from greenprobe.lazy import Lazy

__all__ = ["RETRY_STATUSES", "RetryPolicy", "retry_after"]

email_utils = Lazy("email.utils")

RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
PASSING: Final = (ConnectError, ConnectionLost, DnsError, IncompleteBody, ReadTimeout, TotalTimeout)
LONGEST_S: Final = 10 * 365 * 86400.0  # what a header that asks for more is taken for


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries again up to `retries` times. Times are seconds."""

    retries: int = 0
    first_pause: float = 0.5
    longest_pause: float = 60.0
    longest_retry_after: float = 120.0
    statuses: frozenset[int] = RETRY_STATUSES

    def wants(self, attempt: int, *, status: int | None, error: Exception | None) -> bool:
        """Tell whether what came of attempt number `attempt` (from 1) is worth another."""
        if attempt > self.retries:
            return False
        if error is not None:
            return isinstance(error, PASSING) and not isinstance(error, ForbiddenAddress)
        return status in self.statuses

    def pause(self, attempt: int, headers: Headers, *, random: Callable[[], float], now: float) -> float | None:
        """Return how long to wait after attempt number `attempt`; None if the server asks for too long.

        `random` gives a number from 0 to 1, `now` is Unix time.
        """
        asked = retry_after(headers, now)
        if asked is not None and asked > self.longest_retry_after:
            return None
        ceiling = min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1))
        return max(asked or 0.0, ceiling * (0.5 + random() / 2))


def retry_after(headers: Headers, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; None if there is none that can be understood.

    It is delta-seconds or an HTTP date; a date in the past gives 0. `now` is Unix time. Source: RFC 9110, 10.2.3.
    """
    value = headers.get("retry-after", ("",))[0].strip()
    if re.fullmatch("[0-9]+", value):
        return float(value) if len(value) < 10 else LONGEST_S
    try:
        asked = timegm(email_utils.parsedate_to_datetime(value).utctimetuple())  # one without a zone is in UTC, too
    except (ValueError, OverflowError):
        return None
    return max(0.0, asked - now)
