"""What the package says of itself: the version of eventlet's interface that is implemented here."""

__all__ = ["EventletDeprecationWarning", "__version__"]

__version__ = "0.41.3"


class EventletDeprecationWarning(Warning):
    """What eventlet warns of when it is imported, as it is being retired. This never does; programs filter it."""
