"""eventlet.green.OpenSSL, where pyOpenSSL is installed."""
