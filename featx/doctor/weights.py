"""Whether a backbone's ImageNet weights are here, or can be had."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from featx.backbones.weights import imagenet_file, keras_model_folders
from featx.errors import WeightsError
from featx.records import BackboneSpec

NETWORK_SECONDS = 3.0
"""How long an answer from the network is waited for; looking up a name alone can take longer."""


@dataclass(frozen=True)
class WeightsState:
    """ImageNet weights of one backbone.

    Attributes
    ----------
    backbone : str
        Spec text.
    state : str
        "here", "download" (the server answers), "unreachable", or "none" (there are none for these
        parameters).
    where : str
        The file, its address, or why there is none.
    """

    backbone: str
    state: str
    where: str


def find_weights(specs: Sequence[BackboneSpec]) -> list[WeightsState]:
    """Look for ImageNet weights in Keras's folders, then ask the server that has the rest."""
    found = [_look(spec) for spec in specs]
    asked = next((w.where for w in found if w.state == "download"), None)
    if asked is None or is_reachable(asked):
        return found
    return [
        WeightsState(w.backbone, "unreachable", w.where) if w.state == "download" else w
        for w in found
    ]


def is_reachable(url: str, seconds: float = NETWORK_SECONDS) -> bool:
    """Tell whether `url` answers within `seconds`, without fetching it."""
    answered: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=seconds):
                answered.append(True)
        except (OSError, ValueError):
            pass

    # In a thread that may be left behind: no timeout ends the lookup of a name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered)


def _look(spec: BackboneSpec) -> WeightsState:
    try:
        file = imagenet_file(spec)
    except WeightsError as error:
        return WeightsState(spec.text, "none", str(error))
    for folder in keras_model_folders():
        if (folder / file.name).is_file():
            return WeightsState(spec.text, "here", str(folder / file.name))
    return WeightsState(spec.text, "download", file.url)
