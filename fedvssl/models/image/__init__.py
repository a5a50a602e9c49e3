"""Self-supervised methods on images, one file each; importing this registers them."""

from fedvssl.models.image.barlow_twins import BarlowTwins
from fedvssl.models.image.base import ImageModel, PredictingModel
from fedvssl.models.image.byol import BYOL
from fedvssl.models.image.classifier import ImageClassifier, ImageHead, ImageLinearProbe
from fedvssl.models.image.dino import DINO
from fedvssl.models.image.mlp import MLP
from fedvssl.models.image.moco import MoCoV1, MoCoV2
from fedvssl.models.image.mocov3 import MoCoV3
from fedvssl.models.image.preprocessor import ImagePreprocessor
from fedvssl.models.image.simclr import SimCLR, SimCLRv2
from fedvssl.models.image.simsiam import SimSiam
from fedvssl.models.image.standalone import METHODS, Standalone, build
from fedvssl.models.image.supcon import SupCon
from fedvssl.models.image.swav import SwAV

__all__ = ['BYOL', 'DINO', 'METHODS', 'MLP', 'BarlowTwins', 'ImageClassifier', 'ImageHead', 'ImageLinearProbe',
           'ImageModel', 'ImagePreprocessor', 'MoCoV1', 'MoCoV2', 'MoCoV3', 'PredictingModel', 'SimCLR', 'SimCLRv2',
           'SimSiam', 'Standalone', 'SupCon', 'SwAV', 'build']
