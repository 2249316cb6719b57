"""The version of eventlet's interface that is implemented here."""

__all__ = ["__version__"]

__version__ = "0.41.3"
