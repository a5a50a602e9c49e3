"""Backbones, pretext models and the fine-tuned classifier; importing this fills the ``MODELS`` registry."""

from fedvssl.compat import import_mmaction_models

import_mmaction_models()

from fedvssl.models.backbones.r3d import R3D18  # noqa: E402
from fedvssl.models.base import ClipClassifier, VideoModel, build_model  # noqa: E402
from fedvssl.models.preprocessor import ClipPreprocessor  # noqa: E402
from fedvssl.models.pretext.speed import Speed  # noqa: E402
from fedvssl.models.pretext.vcop import VCOP, VCOPHead  # noqa: E402
from fedvssl.models.recognizer import Recognizer  # noqa: E402

__all__ = ['R3D18', 'VCOP', 'ClipClassifier', 'ClipPreprocessor', 'Recognizer', 'Speed', 'VCOPHead', 'VideoModel',
           'build_model']
