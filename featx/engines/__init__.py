"""Engines: ways to run a backbone graph. Nothing heavy is imported before one is loaded."""

from featx.engines.base import PRECISIONS, Engine, Runner
from featx.engines.choose import ENGINES, choose_engine, choose_precision

__all__ = ["ENGINES", "PRECISIONS", "Engine", "Runner", "choose_engine", "choose_precision"]
