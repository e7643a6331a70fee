"""Synaptic operations: counts, views of them, energy."""
