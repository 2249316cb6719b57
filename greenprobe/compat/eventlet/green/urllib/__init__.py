"""eventlet.green.urllib."""
