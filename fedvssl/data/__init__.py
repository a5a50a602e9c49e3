"""Datasets, samplers, transforms, partitions; importing this fills their registries."""

from fedvssl.data.partition import ColumnPartitioner, IIDPartitioner
from fedvssl.data.sampling import MidTickSampler, RandomClipSampler, SpeedSampler, VCOPSampler
from fedvssl.data.transforms import (
    Brightness,
    CenterCrop,
    Contrast,
    FastResizeCrop,
    Flip,
    HueSaturation,
    RandomCrop,
    RandomResize,
    Resize,
)

__all__ = ['Brightness', 'CenterCrop', 'ColumnPartitioner', 'Contrast', 'FastResizeCrop', 'Flip', 'HueSaturation',
           'IIDPartitioner', 'MidTickSampler', 'RandomClipSampler', 'RandomCrop', 'RandomResize', 'Resize',
           'SpeedSampler', 'VCOPSampler']
