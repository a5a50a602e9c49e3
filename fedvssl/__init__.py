"""Federated self-supervised learning on video (and images).

Importing the package costs nothing: every heavy dependency (torch, mmaction2, Flower) is imported by the module
that needs it. The structure of the package is described in ``fedvssl/README.md``.
"""

__version__ = '0.1.0'
