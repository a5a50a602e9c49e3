"""Federated strategies, one file each."""

from fedvssl.federated.strategies.fedavg import FedAvg
from fedvssl.federated.strategies.fedvssl import FedVSSL

__all__ = ['FedAvg', 'FedVSSL']
