"""The kinds of stage: which function each one calls, and which of its arguments a recipe sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from featx.errors import SpecError
from featx.registry import Registry, near_misses

RESERVED = {
    "data", "cache_dir", "runs_dir", "progress", "name", "dry_run", "test_on", "attributes",
    "resume", "cluster",
}  # fmt: skip
"""Arguments that the run itself gives."""


@dataclass(frozen=True)
class StageKind:
    """A kind of stage.

    Attributes
    ----------
    function : str
        "module:attribute" of the function it calls.
    summary : str
        One line.
    trains : bool
        It trains networks: epochs count, and it goes on where it was killed.
    """

    function: str
    summary: str
    trains: bool = False

    def load(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, attribute = self.function.partition(":")
        return getattr(import_module(module), attribute)

    def all_arguments(self) -> dict[str, Any]:
        """Return the function's arguments with their defaults."""
        return {p.name: p.default for p in inspect.signature(self.load()).parameters.values()}

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that a stage may set, with their defaults."""
        return {k: v for k, v in self.all_arguments().items() if k not in RESERVED}


STAGE_KINDS: Registry[StageKind] = Registry("kind of stage", hint="See: docs/recipes.md")
STAGE_KINDS.register("extract", StageKind("featx.extract:extract", "run frozen backbones once"))
STAGE_KINDS.register(
    "classify", StageKind("featx.classify:classify_targets", "heads on cached features")
)
STAGE_KINDS.register(
    "baseline", StageKind("featx.baseline:baseline", "networks from scratch", trains=True)
)
STAGE_KINDS.register(
    "finetune", StageKind("featx.finetune:finetune", "backbones unfrozen", trains=True)
)
STAGE_KINDS.register(
    "zeroshot", StageKind("featx.zeroshot:zeroshot", "a backbone's own ImageNet classes")
)


def check_settings(where: str, kind: str, settings: dict[str, Any]) -> None:
    """Raise SpecError unless every setting is an argument of the kind's function."""
    allowed = STAGE_KINDS.get(kind).arguments()
    for key in settings:
        if key not in allowed:
            near = near_misses(key, allowed)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SpecError(
                f"{where}: unknown setting {key!r} of {kind}.{hint} It takes: "
                f"{', '.join(sorted(allowed))}."
            )
