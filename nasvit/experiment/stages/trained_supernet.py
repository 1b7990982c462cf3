"""The supernet that was trained, for stages that may find all done that they need it for."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from nasvit.experiment.shared_folder import is_there
from nasvit.experiment.stages.train import SUPERNET, load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.files.whole import sha256_of
from nasvit.supernets.shared_network import SharedNetwork


class TrainedSupernet:
    """The trained supernet of an experiment, loaded when it is first used.

    Args:
        bench: the experiment.

    Raises:
        FileNotFoundError: if there is no trained supernet.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        if bench.experiment.search.trains_supernet and not is_there(bench.folder / SUPERNET, bench.compute):
            load_supernet(bench)  # which says what is missing

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of its file; where none is trained, of what it starts from."""
        if self.bench.experiment.search.trains_supernet:
            return sha256_of(self.bench.folder / SUPERNET)
        assert self.network is not None  # which records what it starts from
        return hashlib.sha256(json.dumps(self.bench.started_from, sort_keys=True).encode()).hexdigest()

    @cached_property
    def network(self) -> SharedNetwork:
        """The supernet on the device."""
        return load_supernet(self.bench)
