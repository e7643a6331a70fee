"""What several files of this room need."""

from __future__ import annotations

import pytest
from ranks_run import OWN_MODELS, ce_double

from snncore.model import MODELS
from snncore.train import LOSSES


@pytest.fixture(scope="module")
def own_nets():
    """The nets and the loss of ranks_run.py have names in this process too."""
    MODELS.update(OWN_MODELS)
    LOSSES["ce_double"] = ce_double
    yield
    for name in OWN_MODELS:
        del MODELS[name]
    del LOSSES["ce_double"]
