"""How many of what, in words for people."""

__all__ = ["counted"]


def counted(count: int, thing: str, things: str | None = None) -> str:
    """Return "1 port", "2,000 ports"; `things` is the plural that no s makes."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
