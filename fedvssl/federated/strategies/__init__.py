"""Federated strategies, one file each."""

from fedvssl.federated.strategies.coordinate_median import CoordinateMedian
from fedvssl.federated.strategies.fedadam import FedAdam
from fedvssl.federated.strategies.fedavg import FedAvg
from fedvssl.federated.strategies.fedavgm import FedAvgM
from fedvssl.federated.strategies.fedema import FedEMA
from fedvssl.federated.strategies.fedprox import FedProx
from fedvssl.federated.strategies.fedu import FedU
from fedvssl.federated.strategies.fedvssl import FedVSSL
from fedvssl.federated.strategies.fedyogi import FedYogi
from fedvssl.federated.strategies.flower import FlowerStrategy
from fedvssl.federated.strategies.ldawa import LDAWA
from fedvssl.federated.strategies.multikrum import MultiKrum
from fedvssl.federated.strategies.private import CentralDP
from fedvssl.federated.strategies.trimmed_mean import TrimmedMean

__all__ = ['LDAWA', 'CentralDP', 'CoordinateMedian', 'FedAdam', 'FedAvg', 'FedAvgM', 'FedEMA', 'FedProx', 'FedU',
           'FedVSSL', 'FedYogi', 'FlowerStrategy', 'MultiKrum', 'TrimmedMean']
