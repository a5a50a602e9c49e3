"""CtP's pasting: each patch is cut out of one frame, resized to its box in every frame, and blended in.

Patch k comes from frame c ~ U{0..T-1} of its own clip, at the place its trajectory has there. Its opacity at a pixel is
the product of

- a shape on the source's pixel grid, with d the distance from the centre in units of the sides: rectangle, ellipse
  (Euclid d < 0.5) or rhombus (L1 d < 0.5);
- with probability 0.5 a soft edge on it, clip((0.5 - d) / (0.5 - τ), 0, 1), τ ~ U(0.30, 0.45);
- a value per frame, U(0.8, 1) at key frames, linear in between.

Shape and picture are resized together (bilinear, as cv2 does); the blend is truncated to uint8, as published. Frames 0
and c always show the patch, the others with a probability of 0.8. Big patches go first, so that they do not hide small
ones.

Only pixels inside boxes are touched, all boxes of a batch at once: at the published geometry they are a tenth of the
picture. The loop over patches is the paste order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedvssl.data.description import Description
from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models.augments.keyframes import KeyFrames, require_probabilities
from fedvssl.models.augments.trajectories import PUBLISHED_CROP, Trajectories
from fedvssl.registry import MODELS

SHAPE_PROBABILITIES = (0.50, 0.35, 0.15)  # rectangle, ellipse, rhombus
SOFT_EDGE = (0.30, 0.45)  # range of τ
OPACITY = (0.8, 1.0)


@dataclass(frozen=True)
class Patches:
    """K patches of each of B clips of T frames.

    Attributes:
        boxes: Place in each frame, int64 (B, K, T, 4), x1, y1, x2, y2.
        source: Frame each patch is cut from, int64 (B, K).
        shape: 0 rectangle, 1 ellipse, 2 rhombus, int64 (B, K).
        edge: τ of the soft edge, or 0.5 for a hard one, float64 (B, K).
        opacity: In each frame, float64 (B, K, T).
        visible: Whether a frame shows the patch, bool (B, K, T).
    """

    boxes: Tensor
    source: Tensor
    shape: Tensor
    edge: Tensor
    opacity: Tensor
    visible: Tensor

    @classmethod
    def draw(cls, boxes: Tensor, key_probabilities: Sequence[float], visibility: float, draws: Draws) -> 'Patches':
        """Draws everything but the boxes."""
        patches, frames = boxes.shape[1:3]
        source = draws.integers(frames, patches)
        keys = KeyFrames.draw(frames, key_probabilities, draws, patches)
        visible = draws.uniform(patches, frames) < visibility
        visible[:, :, 0] = True
        return cls(
            boxes=boxes,
            source=source,
            shape=draws.choice(SHAPE_PROBABILITIES, patches),
            edge=draws.between(*SOFT_EDGE, patches).where(draws.uniform(patches) < 0.5, 0.5),
            opacity=keys.interpolate(draws.between(*OPACITY, patches, keys.index.shape[-1])),
            visible=visible.scatter(2, source[..., None], True))

    def big_first(self) -> 'Patches':
        """Returns the patches of each clip in the order in which they are pasted: by mean width times mean height."""
        sizes = (self.boxes[..., 2:] - self.boxes[..., :2]).double().mean(dim=2).prod(dim=-1)
        order = sizes.argsort(dim=1, descending=True, stable=True)
        clip = torch.arange(len(order), device=order.device)[:, None]
        return replace(self, **{name: value[clip, order] for name, value in vars(self).items()})


@MODELS.register_module()
@dataclass(frozen=True)
class PastePatches(Trajectories):
    """Pastes moving patches and sets ``target`` to their boxes.

    These are float32 (B, K, T, 4), x1, y1, x2, y2 in 112ths of the picture's shorter side: pixels at the published
    crop.

    Attributes:
        visibility: Probability that a frame shows a patch; the target covers the others as well.
    """

    visibility: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_probabilities('PastePatches', visibility=self.visibility)

    def __call__(self, clips: Tensor, samples: dict[str, Tensor], draws: Draws) -> Tensor:
        """Pastes into uint8 clips (B, 1, T, H, W, 3)."""
        patches = self.draw_patches(clips, draws)
        samples['target'] = patches.boxes.to(torch.float32) * (PUBLISHED_CROP / min(clips.shape[3:5]))
        return paste(clips[:, 0], patches)[:, None]

    def draw_patches(self, clips: Tensor, draws: Draws) -> Patches:
        """Draws the patches of a batch of clips.

        Raises:
            ConfigError: If a sample has several clips, or its frames are not whole numbers.
        """
        if clips.shape[1] != 1 or clips.dtype != torch.uint8:
            raise ConfigError(f'PastePatches: takes one uint8 clip a sample, not {clips.shape[1]} of {clips.dtype}; '
                              f'use a sampler of one clip and put PastePatches first')
        frames, height, width = clips.shape[2:5]
        boxes = self.draw(frames, width, height, draws)
        return Patches.draw(boxes, self.key_probabilities, self.visibility, draws)

    def describe(self, target: np.ndarray) -> Description:
        """Gives the boxes (K, T, 4) to whoever draws; which frames show a patch, the target does not say."""
        return Description(f'{len(target)} moving patches', tracks=target[None] / PUBLISHED_CROP)


def paste(clips: Tensor, patches: Patches) -> Tensor:
    """Returns clips uint8 (B, T, H, W, 3) with the patches pasted in.

    The result's memory is channels first: gathering single values is several times cheaper than gathering pixels.
    """
    patches = patches.big_first()
    out_CBTHW = clips.permute(4, 0, 1, 2, 3).clone(memory_format=torch.contiguous_format)
    spots = find_spots(patches, clips.shape[2:4])
    patch_4P = sample(source_planes(out_CBTHW, patches), spots)
    color_CP, alpha_P = patch_4P[:3].round_(), patch_4P[3].mul_(spots.opacity)
    out_CN = out_CBTHW.view(3, -1)
    for begin, end in spots.ranges:
        place = spots.place[begin:end].expand(3, -1)
        under = out_CN.gather(1, place).to(torch.float32)
        out_CN.scatter_(1, place, under.lerp_(color_CP[:, begin:end], alpha_P[begin:end]).to(torch.uint8))
    return out_CBTHW.permute(1, 2, 3, 4, 0)


def source_planes(clips: Tensor, patches: Patches) -> Tensor:
    """Returns the frames that patches are cut from, with the patch's shape as fourth channel: float32 (4, B, K, H, W).

    The shape means something inside the source box only.

    Args:
        clips: uint8 (3, B, T, H, W).
        patches: B clips' K patches.
    """
    _, batch, _, height, width = clips.shape
    clip = torch.arange(batch, device=clips.device)[:, None]
    boxes = patches.boxes.gather(2, patches.source[..., None, None].expand(-1, -1, 1, 4)).squeeze(2)
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + (size - 1) // 2
    x, y = (((torch.arange(length, device=clips.device) - centre[..., axis, None]).abs() / size[..., axis, None])
            .to(torch.float32) for axis, length in enumerate((width, height)))
    planes = clips.new_empty((4, *patches.source.shape, height, width), dtype=torch.float32)
    planes[:3] = clips[:, clip, patches.source]
    planes[3] = _shape(x[..., None, :], y[..., :, None], patches.shape[..., None, None],
                       patches.edge[..., None, None].to(torch.float32))
    return planes


def _shape(x: Tensor, y: Tensor, shape: Tensor, edge: Tensor) -> Tensor:
    """Returns the opacity at relative distances x, y (broadcast) for shapes and edges as in `Patches`."""
    distance = torch.where(shape == 0, torch.maximum(x, y), torch.where(shape == 1, torch.hypot(x, y), x + y))
    inside = (distance < 0.5) | (shape == 0)
    soft = ((0.5 - distance) / (0.5 - edge).clamp(min=1e-6)).clamp(0, 1)
    return inside * torch.where(edge < 0.5, soft, 1.0)


@dataclass(frozen=True)
class Spots:
    """The P pixels to be pasted to, patch by patch in paste order, and where their values come from.

    Attributes:
        ranges: First pixel and end of each place in the paste order.
        place: Pixel of the output, an index into (B T H W), int64 (P,).
        corners: The four source pixels, left above, right above, left below, right below: indices into (B K H W), each
            int64 (P,).
        weight_right: Weight of the right ones, float32 (P,).
        weight_below: Weight of the lower ones, float32 (P,).
        opacity: Of the patch in that frame, float32 (P,).
    """

    ranges: list[tuple[int, int]]
    place: Tensor
    corners: tuple[Tensor, Tensor, Tensor, Tensor]
    weight_right: Tensor
    weight_below: Tensor
    opacity: Tensor


def find_spots(patches: Patches, picture: Sequence[int]) -> Spots:
    """Lists the pixels of all visible boxes.

    What depends on the row or the column of a box alone is computed per row and per column: the N boxes of a batch have
    a few thousand of each, and a hundred thousand pixels.

    Args:
        patches: Patches in paste order.
        picture: Height and width of a frame.
    """
    height, width = picture
    batch, count, frames = patches.visible.shape
    # The K B T boxes in paste order, and the box that each was cut from.
    target = patches.boxes.transpose(0, 1).reshape(-1, 4)
    cut = patches.source[..., None, None].expand(-1, -1, frames, 4)
    source = patches.boxes.gather(2, cut).transpose(0, 1).reshape(-1, 4)
    visible = patches.visible.transpose(0, 1).flatten()
    rank, clip, frame = (axis.flatten() for axis in torch.meshgrid(
        *(torch.arange(length, device=target.device) for length in (count, batch, frames)), indexing='ij'))
    rows, columns = _resample(target, source, 1, visible), _resample(target, source, 0, visible)

    wide = (target[:, 2] - target[:, 0]) * visible
    wide_of_row = wide[rows.box]
    row = torch.repeat_interleave(wide_of_row)
    # A pixel's column: its place in its row, counted from its box's first column.
    shift = _before(wide)[rows.box] - _before(wide_of_row)
    column = torch.arange(len(row), device=row.device) + shift.index_select(0, row)

    place = ((clip * frames + frame)[rows.box] * height + rows.place) * width
    plane = (clip * count + rank)[rows.box] * height
    opacity = patches.opacity.transpose(0, 1).flatten().to(torch.float32)[rows.box]
    ends = (wide * (target[:, 3] - target[:, 1])).view(count, -1).sum(dim=1).cumsum(0).tolist()
    left, right = (index.index_select(0, column) for index in (columns.first, columns.second))
    above, below = (((plane + index) * width).index_select(0, row) for index in (rows.first, rows.second))
    return Spots(
        ranges=list(zip([0, *ends], ends, strict=False)),
        place=place.index_select(0, row) + columns.place.index_select(0, column),
        corners=(above + left, above + right, below + left, below + right),
        weight_right=columns.weight.index_select(0, column),
        weight_below=rows.weight.index_select(0, row),
        opacity=opacity.index_select(0, row))


def _before(lengths: Tensor) -> Tensor:
    """Returns the sum of all lengths before each."""
    return lengths.cumsum(0) - lengths


@dataclass(frozen=True)
class _Lines:
    """All rows (or columns) of all visible boxes: the box of each, its place in the picture, and the two source lines
    that it mixes, the second with `weight` (float32)."""

    box: Tensor
    place: Tensor
    first: Tensor
    second: Tensor
    weight: Tensor


def _resample(target: Tensor, source: Tensor, axis: int, visible: Tensor) -> _Lines:
    """Aligns the columns (`axis` 0) or rows (1) of target boxes with those of source boxes as cv2's resizing does."""
    low, length = target[:, axis], (target[:, axis + 2] - target[:, axis]) * visible
    source_low, source_length = source[:, axis], source[:, axis + 2] - source[:, axis]
    box = torch.repeat_interleave(length)
    offset = torch.arange(len(box), device=box.device) - _before(length)[box]
    last = (source_length - 1)[box]
    position = (offset + 0.5) * (source_length.double() / length)[box] - 0.5
    position = torch.minimum(position.clamp(min=0), last)
    before = position.long()
    first = source_low[box] + before
    return _Lines(box, low[box] + offset, first, first + (before < last), (position - before).to(torch.float32))


def sample(planes: Tensor, spots: Spots) -> Tensor:
    """Returns the bilinear samples (4, P) of source planes (4, B, K, H, W) at the spots."""
    planes = planes.flatten(1)
    a, b, c, d = (planes.gather(1, corner.expand(len(planes), -1)) for corner in spots.corners)
    return a.lerp_(b, spots.weight_right).lerp_(c.lerp_(d, spots.weight_right), spots.weight_below)
