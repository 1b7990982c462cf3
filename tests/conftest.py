"""Settings of all tests: a busy machine is no reason to fail, and small tensors gain nothing from many threads."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; it also reaches the processes that tests start

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
