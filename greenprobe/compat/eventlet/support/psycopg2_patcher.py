"""eventlet.support.psycopg2_patcher: have psycopg2 wait green."""

from greenprobe.compat.eventlet.optional import make_psycopg_green, wait_for_postgres

__all__ = ["eventlet_wait_callback", "make_psycopg_green"]

eventlet_wait_callback = wait_for_postgres
