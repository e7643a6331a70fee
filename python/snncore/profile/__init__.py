"""What a saved net does and costs: measured in one run over test samples, as a table, JSON, and a page to look at."""

from __future__ import annotations

from .load import Saved, load
from .measure import Profile, profile
from .page import page

__all__ = ["Profile", "Saved", "load", "page", "profile"]
