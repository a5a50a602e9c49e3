"""Datasets, samplers, transforms, partitions; importing this fills their registries."""

from fedvssl.data.partitioners import (
    ClassBlocksPartitioner,
    ColumnPartitioner,
    DirichletPartitioner,
    IIDPartitioner,
    ListsPartitioner,
    ShardsPartitioner,
)
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

__all__ = ['Brightness', 'CenterCrop', 'ClassBlocksPartitioner', 'ColumnPartitioner', 'Contrast',
           'DirichletPartitioner', 'FastResizeCrop', 'Flip', 'HueSaturation', 'IIDPartitioner', 'ListsPartitioner',
           'MidTickSampler', 'RandomClipSampler', 'RandomCrop', 'RandomResize', 'Resize', 'ShardsPartitioner',
           'SpeedSampler', 'VCOPSampler']
