"""Backbones: a catalog of keras.applications, their weights, and one graph a backbone.

Nothing here imports Keras before a graph is built or a download is needed.
"""

from featx.backbones.catalog import BACKBONES, BackboneRow
from featx.backbones.graph import build_backbone, build_graph, graph_shapes, list_layers, tap_shapes
from featx.backbones.parse import bound_params, list_backbones, list_sizes, parse_backbone
from featx.backbones.weights import resolve_weights

__all__ = [
    "BACKBONES",
    "BackboneRow",
    "bound_params",
    "build_backbone",
    "build_graph",
    "graph_shapes",
    "list_backbones",
    "list_layers",
    "list_sizes",
    "parse_backbone",
    "resolve_weights",
    "tap_shapes",
]
