"""Backbones, pretext models and the fine-tuned classifier; importing this fills the ``MODELS`` registry."""

from fedvssl.compat import import_mmaction_models

import_mmaction_models()

from fedvssl.models.augments.color import BatchHueSaturation, DynamicBrightness, DynamicContrast  # noqa: E402
from fedvssl.models.augments.image.blur import GaussianBlur  # noqa: E402
from fedvssl.models.augments.image.crop import ResizedCrop  # noqa: E402
from fedvssl.models.augments.image.grey import Grayscale  # noqa: E402
from fedvssl.models.augments.image.jitter import ColorJitter  # noqa: E402
from fedvssl.models.augments.image.solarize import Solarize  # noqa: E402
from fedvssl.models.augments.patches import PastePatches  # noqa: E402
from fedvssl.models.backbones.alexnet_cifar import AlexNetCIFAR  # noqa: E402
from fedvssl.models.backbones.conv4 import Conv4  # noqa: E402
from fedvssl.models.backbones.densenet_cifar import DenseNetCIFAR  # noqa: E402
from fedvssl.models.backbones.efficientnet_cifar import EfficientNetCIFAR  # noqa: E402
from fedvssl.models.backbones.r2plus1d import R2Plus1D18  # noqa: E402
from fedvssl.models.backbones.r3d import R3D18  # noqa: E402
from fedvssl.models.backbones.resnet_cifar import ResNetCIFAR  # noqa: E402
from fedvssl.models.backbones.vgg_cifar import VGGCIFAR  # noqa: E402
from fedvssl.models.base import BackboneModel, build_model  # noqa: E402
from fedvssl.models.linear_probe import LinearProbe, LinearProbeHead  # noqa: E402
from fedvssl.models.preprocessor import ClipPreprocessor  # noqa: E402
from fedvssl.models.pretext.ctp import CtP, CtPHead  # noqa: E402
from fedvssl.models.pretext.moco import MoCo, MoCoHead  # noqa: E402
from fedvssl.models.pretext.rot3d import Rot3D, Rotate90  # noqa: E402
from fedvssl.models.pretext.speed import Speed  # noqa: E402
from fedvssl.models.pretext.vcop import VCOP, VCOPHead  # noqa: E402
from fedvssl.models.recognizer import Recognizer  # noqa: E402
from fedvssl.models.video import ClipClassifier, VideoModel  # noqa: E402

from fedvssl.models import image  # noqa: E402, isort: skip

__all__ = ['R3D18', 'VCOP', 'VGGCIFAR', 'AlexNetCIFAR', 'BackboneModel', 'BatchHueSaturation', 'ClipClassifier',
           'ClipPreprocessor', 'ColorJitter', 'Conv4', 'CtP', 'CtPHead', 'DenseNetCIFAR', 'DynamicBrightness',
           'DynamicContrast', 'EfficientNetCIFAR', 'GaussianBlur', 'Grayscale', 'LinearProbe', 'LinearProbeHead',
           'MoCo', 'MoCoHead', 'PastePatches', 'R2Plus1D18', 'Recognizer', 'ResNetCIFAR', 'ResizedCrop', 'Rot3D',
           'Rotate90', 'Solarize', 'Speed', 'VCOPHead', 'VideoModel', 'build_model', 'image']
