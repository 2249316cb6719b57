"""OpenSSL.crypto of pyOpenSSL, as it is."""

from OpenSSL import crypto

from greenprobe.compat.eventlet.green.private import contents

globals().update(contents(crypto))
