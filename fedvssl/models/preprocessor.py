"""From the loader's uint8 clips to the network's normalised floats, on the device."""

from collections.abc import Sequence
from typing import Protocol

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from fedvssl.data.draws import Draws
from fedvssl.registry import MODELS


class BatchAugment(Protocol):
    """Anything that augments a whole batch on the device, each sample by draws of its own."""

    def __call__(self, clips: Tensor, samples: dict[str, Tensor], draws: Draws) -> Tensor:
        """Returns the new clips.

        Args:
            clips: (B, M, T, H, W, 3) on the 0..255 scale; uint8, not to be changed in place, or float32, which may be.
            samples: The batch's ``data_samples``; an augmentation that makes the pretext task sets ``target``.
            draws: The samples' random numbers.
        """


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, augments it, turns frames into channels-first floats and normalises them.

    Clips cross from worker to device as uint8, a quarter of the bytes of float32.

    Args:
        mean: Per-channel mean in RGB order, on the 0..255 scale (the defaults are ImageNet's, as CtP and FedVSSL use).
        std: Per-channel standard deviation, likewise.
        augments: Configs of batch augmentations, applied in this order, in training and in evaluation alike.
    """

    def __init__(self, mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375), augments: Sequence[dict] = ()) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1, 1), persistent=False)
        self.augments: list[BatchAugment] = [MODELS.build(augment) for augment in augments]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepares one batch.

        Args:
            data: ``inputs`` uint8 (B, M, T, H, W, 3), M clips a sample; ``data_samples`` a dict of tensors, with
                ``seed`` int64 (B,) if there are augmentations.
            training: Unused; part of mmengine's interface.

        Returns:
            The same keys, ``inputs`` as float (B, M, 3, T, H, W).
        """
        clips, samples = self.augmented(data)
        x_BMCTHW = clips.permute(0, 1, 5, 2, 3, 4).to(self.mean.dtype)
        return dict(inputs=x_BMCTHW.sub_(self.mean).div_(self.std), data_samples=samples)

    def augmented(self, data: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns what `forward` would normalise, (B, M, T, H, W, 3) on the 0..255 scale, and the data samples."""
        seeds = data['data_samples']['seed'].tolist() if self.augments else ()  # before they leave the CPU
        data = self.cast_data(data)
        clips, samples = data['inputs'], dict(data['data_samples'])
        for position, augment in enumerate(self.augments):
            clips = augment(clips, samples, Draws(seeds, position, clips.device))
        return clips, samples
