"""From real numbers to sequences: x [B, *] becomes x_seq [T, B, *], on the device where x lies."""

from __future__ import annotations

from .encoders import direct, rate

__all__ = ["ENCODINGS", "direct", "rate"]

ENCODINGS = {
    "direct": direct,
    "rate": rate,
}
