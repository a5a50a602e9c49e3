"""Rot3D: the network names the angle by which a clip was turned.

Each clip is turned by 0, 90, 180 or 270 degrees counter-clockwise, all of its frames alike; the target k is the
number of quarter turns. Average pool, dropout 0.5, one linear layer from N(0, 0.001), 2,052 parameters at width 64;
cross-entropy, initially ln 4 = 1.386. Clips: 16 frames at a stride from 1 to 5, jittered
(`fedvssl.data.sampling.RandomClipSampler`).

Our quarter turns are exact. CtP's code warps about (W/2, H/2) instead of the middle of the pixels, ((W - 1)/2,
(H - 1)/2), which shifts turned clips by one pixel and repeats a border row or column, from which the target might be
read off.

Sources: Jing et al., "Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction",
arXiv:1811.11387; Wang et al. (CtP), CVPR 2021, whose code has this task as a baseline.
"""

import numpy as np
import torch
from torch import Tensor

from fedvssl.data.description import Description
from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models.video import PooledClassifier
from fedvssl.registry import MODELS

ANGLES = 4
HEIGHT, WIDTH = 3, 4  # dimensions of clips (B, M, T, H, W, 3)


@MODELS.register_module()
class Rotate90:
    """Turns every sample's clips by a uniform number of quarter turns, counter-clockwise, which becomes the target."""

    classes = tuple(90 * angle for angle in range(ANGLES))

    def __call__(self, clips: Tensor, samples: dict[str, Tensor], draws: Draws) -> Tensor:
        """Turns clips (B, M, T, S, S, 3) and sets ``target`` int64 (B,), 0..3.

        Raises:
            ConfigError: If frames are not square.
        """
        height, width = clips.shape[HEIGHT], clips.shape[WIDTH]
        if height != width:
            raise ConfigError(f'Rotate90: frames must be square, not {width}x{height}; put a crop before it')
        samples['target'] = draws.integers(ANGLES)
        turns = samples['target'].view(-1, 1, 1, 1, 1, 1)
        turned = clips
        for angle in range(1, ANGLES):
            turned = torch.where(turns == angle, clips.rot90(angle, (HEIGHT, WIDTH)), turned)
        return turned

    def describe(self, target: np.ndarray) -> Description:
        """Names the angle."""
        return Description(f'rotated by {90 * int(target)} degrees counter-clockwise (class {int(target)})')


@MODELS.register_module()
class Rot3D(PooledClassifier):
    """Rotation prediction; the preprocessor's augments must hold a `Rotate90`, which makes the target.

    Raises:
        ConfigError: If they do not: the videos' labels would be the targets.
    """

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict) -> None:
        super().__init__(backbone, head, data_preprocessor)
        if not any(isinstance(augment, Rotate90) for augment in self.data_preprocessor.augments):
            raise ConfigError("Rot3D: model.data_preprocessor.augments must hold dict(type='Rotate90')")
