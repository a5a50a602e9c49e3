"""Comparisons: federated pretraining and its points of reference, with several seeds, as jobs that can be resumed."""
