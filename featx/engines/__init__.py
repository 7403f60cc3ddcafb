"""Engines: ways to run a backbone graph. Nothing heavy is imported before one is loaded."""

from featx.engines.base import PRECISIONS, Engine
from featx.engines.choose import ENGINES, choose_engine, choose_precision
from featx.engines.runner import Runner

__all__ = ["ENGINES", "PRECISIONS", "Engine", "Runner", "choose_engine", "choose_precision"]
