"""From the loader's uint8 clips to the network's normalised floats, on the device."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor

from fedvssl.registry import MODELS


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, then turns frames into channels-first floats and normalises them.

    Clips cross from worker to device as uint8, a quarter of the bytes of float32.

    Args:
        mean: Per-channel mean in RGB order, on the 0..255 scale (the defaults are ImageNet's, as CtP and FedVSSL use).
        std: Per-channel standard deviation, likewise.
    """

    def __init__(self, mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375)) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepares one batch.

        Args:
            data: ``inputs`` uint8 (B, M, T, H, W, 3), M clips a sample; ``data_samples`` a dict of tensors.
            training: Unused; part of mmengine's interface.

        Returns:
            The same keys, ``inputs`` as float (B, M, 3, T, H, W).
        """
        data = self.cast_data(data)
        x_BMTHWC = data['inputs']
        x_BMCTHW = x_BMTHWC.permute(0, 1, 5, 2, 3, 4).to(self.mean.dtype)
        return dict(data, inputs=(x_BMCTHW - self.mean) / self.std)
