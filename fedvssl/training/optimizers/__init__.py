"""Optimisers whose step is scaled layer by layer; importing this fills the ``OPTIMIZERS`` registry."""

from fedvssl.training.optimizers.larc import LARC
from fedvssl.training.optimizers.lars import LARS

__all__ = ['LARC', 'LARS']
