"""Weights in and out: any checkpoint as named tensors, backbones of other code bases, loading with a report.

`layouts` has the key maps, `npz` the published lists without names, `converting` and `writing` what
``tools/convert_checkpoint.py`` does.
"""

from fedvssl.weights.loading import LoadReport, load_backbone
from fedvssl.weights.reading import GLOBAL_FILE, ROUND_PREFIX, ROUNDS_DIR, read_weights

__all__ = ['GLOBAL_FILE', 'ROUNDS_DIR', 'ROUND_PREFIX', 'LoadReport', 'load_backbone', 'read_weights']
