r"""CtP, catch the patch: patches move over a clip; from their place in the first frame, the network tells all others.

`fedvssl.models.augments.patches.PastePatches` makes the task. From the query box b_0, with centre (x_0, y_0) and sides
w_0, h_0, the targets at frame t are

    (x_t - x_0, y_t - y_0, ln(w_t / w_0), ln(h_t / h_0)) / (0.8, 0.8, 0.04, 0.04)

with sides of at least one pixel; frame 0, whose target is 0, counts like the others, and so do frames that do not show
the patch. The loss is smooth L1 (β = 1), summed over the four numbers, averaged over patches and frames. Predicting 0
costs 22.5 at the published geometry.

Head: temporal convolution over the backbone's whole output length -> ReLU -> RoIAlign 5x5 at b_0 -> FC -> ReLU -> FC to
4 T numbers; 7,111,744 parameters at width 64. The backbone keeps its last stage's spatial resolution (spatial strides
1, 2, 2, 1: an eighth of the picture).

Source: Wang et al., "Unsupervised Visual Representation Learning by Tracking Patches in Video", CVPR 2021, and their
code. Boxes are measured in 112ths of the picture's shorter side, so that at the published crop of 112 px these are
pixels, and at any other crop the same numbers mean the same motion.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, kaiming_init, normal_init
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.augments.patches import PastePatches
from fedvssl.models.augments.trajectories import PUBLISHED_CROP
from fedvssl.models.roi_align import roi_align
from fedvssl.models.video import VideoModel
from fedvssl.registry import MODELS


@MODELS.register_module()
class CtPHead(BaseModule):
    """Trajectories of query boxes from feature maps.

    Args:
        in_channels: Channels of the feature maps.
        clip_length: Frames of a clip, T.
        feature_length: Length of the feature maps in time.
        hidden_channels: Width of the head; `in_channels` if None, as published.
        roi_size: Bins per side of RoIAlign.
        spatial_stride: Pixels of the clip per pixel of the feature maps.
        init_std: Deviation of the initial weights of both linear layers.
    """

    def __init__(self, in_channels: int, clip_length: int = 16, feature_length: int | None = None,
                 hidden_channels: int | None = None, roi_size: int = 5, spatial_stride: int = 8,
                 init_std: float = 0.001) -> None:
        super().__init__()
        hidden = hidden_channels or in_channels
        self.clip_length, self.roi_size, self.spatial_stride = clip_length, roi_size, spatial_stride
        self.init_std = init_std
        self.feature_length = feature_length or -(-clip_length // 8)
        self.temporal_conv = nn.Conv3d(in_channels, hidden, (self.feature_length, 1, 1))
        self.fc1 = nn.Linear(hidden * roi_size ** 2, hidden)
        self.pred_head = nn.Linear(hidden, 4 * clip_length)

    def init_weights(self) -> None:
        """Initialises as published: Kaiming for the convolution, N(0, 0.001) for the rest."""
        kaiming_init(self.temporal_conv)
        normal_init(self.fc1, std=self.init_std)
        normal_init(self.pred_head, std=self.init_std)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns encoded boxes (B, K, T, 4) from feature maps (B, C, T', H', W') and query boxes (B, K, 4) in px."""
        if features.shape[2] != self.feature_length:
            raise ConfigError(f'CtPHead: takes feature maps of length {self.feature_length}, not {features.shape[2]}: '
                              f'clip_length must be that of the sampler, feature_length that of the backbone')
        maps = torch.relu(self.temporal_conv(features).squeeze(2))
        rois = roi_align(maps, queries, self.roi_size, 1 / self.spatial_stride)
        hidden = torch.relu(self.fc1(rois.flatten(2)))
        return self.pred_head(hidden).unflatten(-1, (self.clip_length, 4))


@MODELS.register_module()
class CtP(VideoModel):
    """Catch the patch.

    ``data_samples['target']`` are the boxes (B, K, T, 4) as x1, y1, x2, y2 in 112ths of the picture's shorter side;
    those of frame 0 are the queries. Predictions are encoded boxes: the targets of the module's docstring.

    Args:
        backbone: Config of the backbone.
        head: Config of the head.
        data_preprocessor: Config of the preprocessor, with `PastePatches` first among its augmentations.
        target_stds: Deviations that the targets are divided by.
    """

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict,
                 target_stds: Sequence[float] = (0.8, 0.8, 0.04, 0.04)) -> None:
        super().__init__(backbone, head, data_preprocessor)
        if not any(isinstance(augment, PastePatches) for augment in self.data_preprocessor.augments):
            raise ConfigError("CtP: model.data_preprocessor.augments must hold dict(type='PastePatches')")
        self.register_buffer('target_stds', torch.tensor(target_stds), persistent=False)

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns encoded boxes (B, K, T, 4) for clips (B, 1, 3, T, H, W)."""
        features = self.features(inputs)
        self._check_geometry(inputs.shape[-3:], features.shape[-2:])
        pixels = min(inputs.shape[-2:]) / PUBLISHED_CROP
        return self.head(features, first_boxes(data_samples['target']) * pixels)

    def _check_geometry(self, clip: Sequence[int], feature_map: Sequence[int]) -> None:
        stride, expected = self.head.spatial_stride, [-(-side // self.head.spatial_stride) for side in clip[1:]]
        if clip[0] != self.head.clip_length:
            raise ConfigError(f'model.head.clip_length: is {self.head.clip_length}, clips have {clip[0]} frames')
        if list(feature_map) != expected:
            raise ConfigError(f'model.head.spatial_stride: {stride} would make feature maps {expected}, the backbone '
                              f'gives {list(feature_map)}; CtP wants model.backbone.spatial_strides=(1, 2, 2, 1)')

    def loss(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss and its two parts, of centres and of sizes."""
        return self._compare(self.predict(inputs, data_samples), data_samples['target'])

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Returns the loss, that of predicting 0 (boxes that never move), and the mean IoU with the true boxes."""
        zero = self._compare(torch.zeros_like(predictions), targets)
        deltas = predictions * self.target_stds.to(predictions.device)
        return dict(loss=float(self._compare(predictions, targets)['loss']), zero_loss=float(zero['loss']),
                    iou=float(box_iou(decode(deltas, first_boxes(targets)), targets).mean()))

    def _compare(self, encoded: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        return tracking_loss(encoded, encode(boxes) / self.target_stds.to(boxes.device))


def first_boxes(boxes: Tensor) -> Tensor:
    """Returns the query boxes (B, K, 4) of trajectories (B, K, T, 4)."""
    return boxes[:, :, 0]


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)


def encode(boxes: Tensor) -> Tensor:
    """Returns shifts and log size ratios (B, K, T, 4) of boxes (B, K, T, 4) relative to those of frame 0."""
    query = first_boxes(boxes)[:, :, None]
    return torch.cat([_centres(boxes) - _centres(query), _sides(boxes).log() - _sides(query).log()], dim=-1)


def decode(deltas: Tensor, queries: Tensor) -> Tensor:
    """Returns the boxes (B, K, T, 4) that `encode` turns into `deltas`, given those of frame 0, (B, K, 4)."""
    query = queries[:, :, None]
    centres, half = _centres(query) + deltas[..., :2], _sides(query) * deltas[..., 2:].exp() / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def tracking_loss(encoded: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Returns smooth L1 of (B, K, T, 4) against targets, summed over each box's numbers: ``loss``, and its parts."""
    errors = F.smooth_l1_loss(encoded, targets, reduction='none', beta=1.0)
    centre, size = errors[..., :2].sum(dim=-1).mean(), errors[..., 2:].sum(dim=-1).mean()
    return dict(loss=centre + size, loss_center=centre, loss_size=size)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns intersection over union of paired boxes (..., 4) as x1, y1, x2, y2."""
    overlap = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2]))
    shared = overlap.clamp(min=0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-9)
