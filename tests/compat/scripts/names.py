"""The names of the package."""

import eventlet

for name in (
    "connect listen serve StopServe wrap_ssl Event GreenPool GreenPile sleep spawn spawn_n spawn_after kill "
    "import_patched monkey_patch Queue Semaphore CappedSemaphore BoundedSemaphore Timeout with_timeout wrap_is_timeout "
    "is_timeout getcurrent __version__ TimeoutError exc_after call_after_global"
).split():
    print(name, hasattr(eventlet, name))

