"""OpenSSL.version of pyOpenSSL, as it is."""

from OpenSSL import version

from greenprobe.compat.eventlet.green.private import contents

globals().update(contents(version))
