"""Settings of all tests: a busy machine is no reason to fail, and small tensors gain nothing from many threads."""

from __future__ import annotations

import atexit
import os
import tempfile

from hypothesis import settings

_PREFIX = "nasvit-tests-"
if "PYTEST_XDIST_WORKER" not in os.environ or _PREFIX not in os.environ.get("XDG_CACHE_HOME", ""):
    _CACHE = tempfile.TemporaryDirectory(prefix=_PREFIX)  # processes that share the tests share it
    atexit.register(_CACHE.cleanup)
    os.environ["XDG_CACHE_HOME"] = _CACHE.name  # no test reads or writes what belongs to the user
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; it also reaches the processes that tests start

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
