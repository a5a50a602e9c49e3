"""Federated training: aggregation, strategies, client, server, engines."""

from fedvssl.federated.strategies import FedAvg, FedVSSL

__all__ = ['FedAvg', 'FedVSSL']
