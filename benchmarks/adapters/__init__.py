"""Competitors. Each one is a class with `name`, `fit` and `predict`; see :mod:`benchmarks.adapters.base`."""

from __future__ import annotations

from benchmarks.adapters.cellflow import CellFlowAdapter
from benchmarks.adapters.scgen import ScgenAdapter

ADAPTERS = {adapter.name: adapter for adapter in (ScgenAdapter, CellFlowAdapter)}
