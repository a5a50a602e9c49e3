"""RoIAlign by one `grid_sample`, for installations without compiled operators.

As mmcv's and torchvision's with ``aligned=True`` and a fixed ``sampling_ratio``: a box, scaled to the feature map and
moved by half a pixel, is divided into S x S bins; each bin is the mean of n x n bilinear samples, where a sample up to
one pixel outside of the map takes the value at its border and one further out is 0.

Source: He et al., "Mask R-CNN", ICCV 2017.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def roi_align(features: Tensor, boxes: Tensor, output_size: int, scale: float, sampling_ratio: int = 2) -> Tensor:
    """Pools square feature patches.

    Args:
        features: (B, C, H, W).
        boxes: K boxes of each image, (B, K, 4), as x1, y1, x2, y2 in pixels of the input.
        output_size: S, bins per side.
        scale: Size of the feature map relative to the input, e.g. 1/8.
        sampling_ratio: n, samples per bin and side.

    Returns:
        (B, K, C, S, S); gradients flow to the features.
    """
    batch, channels, height, width = features.shape
    kind = torch.promote_types(features.dtype, boxes.dtype)  # half precision would blur the places of samples
    pooled_type, features, boxes = features.dtype, features.to(kind), boxes.to(kind)
    low, size = boxes[..., :2] * scale - 0.5, (boxes[..., 2:] - boxes[..., :2]) * scale
    steps = output_size * sampling_ratio
    offsets = (torch.arange(steps, device=boxes.device, dtype=boxes.dtype) + 0.5) / steps
    points = low[..., None, :] + size[..., None, :] * offsets[:, None]  # (B, K, steps, 2): x and y of columns and rows
    limits = torch.tensor([width - 1, height - 1], device=boxes.device, dtype=boxes.dtype)
    inside = ((points >= -1) & (points <= limits + 1)).to(kind)
    grid_x, grid_y = (2 * torch.minimum(points.clamp(min=0), limits) / limits.clamp(min=1) - 1).unbind(-1)
    grid = torch.stack(torch.broadcast_tensors(grid_x[:, :, None, :], grid_y[:, :, :, None]), dim=-1)
    samples = F.grid_sample(features, grid.flatten(1, 2), mode='bilinear', padding_mode='border',
                            align_corners=True)
    samples = samples.view(batch, channels, -1, steps, steps).transpose(1, 2)
    samples = samples * (inside[..., 1, None] * inside[..., None, :, 0])[:, :, None]
    pooled = F.avg_pool2d(samples.flatten(0, 1), sampling_ratio).to(pooled_type)
    return pooled.view(batch, -1, channels, output_size, output_size)
