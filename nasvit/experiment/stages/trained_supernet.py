"""The supernet that was trained, for stages that may find all done that they need it for."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from nasvit.experiment.stages.train import load_supernet, require_same_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.supernets.shared_network import SharedNetwork


class TrainedSupernet:
    """The trained supernet of an experiment, loaded when it is first used.

    Args:
        bench: the experiment.

    Raises:
        FileNotFoundError: if there is no trained supernet.
        ValueError: if it was replaced since the search began.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._sha256 = require_same_supernet(bench) if bench.experiment.search.trains_supernet else ""

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of its file; where none is trained, of what it starts from."""
        if self._sha256:
            return self._sha256
        assert self.network is not None  # which records what it starts from
        return hashlib.sha256(json.dumps(self.bench.started_from, sort_keys=True).encode()).hexdigest()

    @cached_property
    def network(self) -> SharedNetwork:
        """The supernet on the device."""
        return load_supernet(self.bench)
