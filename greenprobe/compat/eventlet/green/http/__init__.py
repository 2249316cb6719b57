"""eventlet.green.http."""

from http import HTTPStatus

__all__ = ["HTTPStatus"]
