"""CtP's transforms in the published style: loops over frames, one clip at a time, in numpy and OpenCV.

A second implementation, written from the description of the method alone. It shares no code with
`fedvssl.models.augments`, so that it serves as that one's test and as the base line of its benchmark. Nothing trains
with it.

In order: short side to 112, 128 or 144; random crop 112; flip; moving patches pasted in; hue and saturation; brightness
and contrast that drift; normalised tensor. Frames are a list of T arrays (H, W, 3), uint8 until a change of colour
makes them floats. What is random is drawn from a `numpy.random.Generator`; each step is also a function of its
parameters. Boxes are x1, y1, x2, y2 in whole pixels, end exclusive.

Source: Wang et al., "Unsupervised Visual Representation Learning by Tracking Patches in Video", CVPR 2021, and the
parameters of their code.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

Frames = list[np.ndarray]

SHORT_SIDES, CROP = (112, 128, 144), 112
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALES, RATIOS = (16, 24, 28, 32, 48, 64), (0.5, 0.67, 0.75, 1, 1.33, 1.5, 2)
RECTANGLE, ELLIPSE, RHOMBUS = range(3)
LINEAR, ACCELERATING, DECELERATING = range(3)


def resize_reference(frames: Frames, short_side: int) -> Frames:
    """Scales the shorter side to `short_side` and keeps the aspect."""
    height, width = frames[0].shape[:2]
    scale = short_side / min(height, width)
    size = (max(round(width * scale), short_side), max(round(height * scale), short_side))
    return [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames]


def crop_reference(frames: Frames, x: int, y: int, size: int) -> Frames:
    """Cuts the same square out of every frame."""
    return [np.ascontiguousarray(frame[y:y + size, x:x + size]) for frame in frames]


def flip_reference(frames: Frames) -> Frames:
    """Mirrors left and right."""
    return [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]


def draw_keys_reference(random: np.random.Generator, frames: int, probabilities: Sequence[float]) -> list[int]:
    """Draws key frames: 0, the last, and as many inner ones as `probabilities` says, at jittered equal distances."""
    inner = int(random.choice(len(probabilities), p=probabilities))
    reach = frames // (inner + 1) // 3
    keys = {0, frames - 1}
    for number in range(1, inner + 1):
        jitter = int(random.integers(-reach, reach)) if reach else 0
        keys.add(frames * number // (inner + 1) + jitter)
    return sorted(keys)


def draw_kinds_reference(random: np.random.Generator, keys: Sequence[int]) -> list[int]:
    """Draws how the value goes from each key frame to the next."""
    return [int(random.choice(3, p=(0.70, 0.15, 0.15))) for _ in keys[1:]]


def interpolate_reference(keys: Sequence[int], values: Sequence[Any], kinds: Sequence[int] | None = None) -> list[Any]:
    """Returns the value (number or array) at every frame from those at the key frames; linear without kinds."""
    result = [values[0]]
    for segment, (begin, end) in enumerate(zip(keys, keys[1:], strict=False)):
        first, second = values[segment], values[segment + 1]
        kind = kinds[segment] if kinds else LINEAR
        for frame in range(begin + 1, end + 1):
            x = (frame - begin) / (end - begin)
            if kind == ACCELERATING:
                result.append(first + (second - first) * x ** 2)
            elif kind == DECELERATING:
                result.append(second - (second - first) * (1 - x) ** 2)
            else:
                result.append(first + (second - first) * x)
    return result


def draw_trajectories_reference(random: np.random.Generator, frames: int = 16, width: int = 112, height: int = 112,
                                patches: int = 3, probabilities: Sequence[float] = (0.5, 0.3, 0.2)) -> np.ndarray:
    """Draws the boxes int64 (K, T, 4) of a clip of the published crop."""
    picture = np.array([width, height])
    sides = np.empty((patches, 2))
    corners = np.empty((patches, 2))
    for k in range(patches):
        scale, ratio = random.choice(SCALES), random.choice(RATIOS)
        anchor = np.array([scale * math.sqrt(ratio), scale / math.sqrt(ratio)])
        sides[k] = np.clip(anchor * np.exp(random.uniform(-0.18, 0.18, 2)), 1, picture - 1)
        corners[k] = random.uniform(0, picture - sides[k])

    keys = draw_keys_reference(random, frames, probabilities)
    centres = [corners + sides / 2]
    for begin, end in zip(keys, keys[1:], strict=False):
        reach = 3 * (end - begin)
        moved = centres[-1] + random.uniform(-reach, reach, (patches, 2))
        centres.append(np.clip(moved, sides / 2, picture - sides / 2))
    centre_at = interpolate_reference(keys, centres, draw_kinds_reference(random, keys))

    keys = draw_keys_reference(random, frames, probabilities)
    sizes = [sides]
    for begin, end in zip(keys, keys[1:], strict=False):
        growth = 0.025 * (end - begin)
        sizes.append(sizes[-1] * np.exp(random.uniform(-growth, growth, (patches, 2))))
    size_at = interpolate_reference(keys, sizes, draw_kinds_reference(random, keys))

    boxes = np.empty((patches, frames, 4), dtype=np.int64)
    limits = np.array([width, height, width, height])
    for frame in range(frames):
        for k in range(patches):
            centre, half = centre_at[frame][k], size_at[frame][k] / 2
            box = np.clip(np.concatenate([centre - half, centre + half]), 0, limits)
            boxes[k, frame] = np.clip(np.round(box), 0, limits)
    return boxes


@dataclass(frozen=True)
class ReferencePatches:
    """What `paste_reference` wants to know of K patches in T frames.

    Attributes:
        boxes: Place in each frame, int (K, T, 4).
        source: Frame each patch is cut from, (K,).
        shape: `RECTANGLE`, `ELLIPSE` or `RHOMBUS`, (K,).
        edge: Where a soft edge begins, in units of the sides, or 0.5 for a hard one, (K,).
        opacity: In each frame, (K, T).
        visible: Whether a frame shows the patch, bool (K, T).
    """

    boxes: np.ndarray
    source: np.ndarray
    shape: np.ndarray
    edge: np.ndarray
    opacity: np.ndarray
    visible: np.ndarray


def draw_patches_reference(random: np.random.Generator, frames: int, width: int, height: int, patches: int = 3,
                           visibility: float = 0.8) -> ReferencePatches:
    """Draws everything about the patches of a clip."""
    probabilities = (0.5, 0.3, 0.2)
    boxes = draw_trajectories_reference(random, frames, width, height, patches, probabilities)
    source = random.integers(frames, size=patches)
    shape = random.choice(3, size=patches, p=(0.50, 0.35, 0.15))
    edge = np.where(random.random(patches) < 0.5, random.uniform(0.30, 0.45, patches), 0.5)
    opacity = np.empty((patches, frames))
    visible = random.random((patches, frames)) < visibility
    for k in range(patches):
        keys = draw_keys_reference(random, frames, probabilities)
        opacity[k] = interpolate_reference(keys, [random.uniform(0.8, 1.0) for _ in keys])
        visible[k, 0] = visible[k, source[k]] = True
    return ReferencePatches(boxes, source, shape, edge, opacity, visible)


def base_alpha_reference(width: int, height: int, shape: int, edge: float) -> np.ndarray:
    """Returns a patch's opacity on the grid it was cut out on, float32 (H, W)."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = np.abs(columns - (width - 1) // 2) / width, np.abs(rows - (height - 1) // 2) / height
    if shape == RECTANGLE:
        distance, alpha = np.maximum(x, y), np.ones_like(x)
    elif shape == ELLIPSE:
        distance = np.sqrt(x * x + y * y)
        alpha = (distance < 0.5).astype(np.float32)
    else:
        distance = x + y
        alpha = (distance < 0.5).astype(np.float32)
    if edge < 0.5:
        alpha = alpha * np.clip((0.5 - distance) / (0.5 - float(edge)), 0, 1)
    return alpha


def paste_reference(frames: Frames, boxes: np.ndarray, source: np.ndarray, shape: np.ndarray, edge: np.ndarray,
                    opacity: np.ndarray, visible: np.ndarray) -> Frames:
    """Returns the frames with patches pasted in; arguments as in `ReferencePatches`."""
    cut, alphas, sizes = [], [], []
    for k in range(len(boxes)):
        x1, y1, x2, y2 = (int(value) for value in boxes[k, source[k]])
        cut.append(frames[source[k]][y1:y2, x1:x2].copy())
        alphas.append(base_alpha_reference(x2 - x1, y2 - y1, shape[k], edge[k]))
        sides = (boxes[k, :, 2:] - boxes[k, :, :2]).mean(axis=0)
        sizes.append(sides[0] * sides[1])
    big_first = sorted(range(len(boxes)), key=lambda k: -sizes[k])

    result = []
    for t, frame in enumerate(frames):
        image = frame.copy()
        for k in big_first:
            if not visible[k, t]:
                continue
            x1, y1, x2, y2 = (int(value) for value in boxes[k, t])
            patch = cv2.resize(cut[k], (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
            alpha = cv2.resize(alphas[k], (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
            alpha = (alpha * opacity[k, t])[..., None]  # float64, and so is the blend
            image[y1:y2, x1:x2] = image[y1:y2, x1:x2] * (1 - alpha) + patch * alpha
        result.append(image)
    return result


def shift_hue_reference(frames: Frames, shift: float, scale: float) -> Frames:
    """Adds to the hue (0..179, clipped there) and multiplies the saturation, in 8-bit HSV; gives float32 frames."""
    result = []
    for frame in frames:
        hsv = cv2.cvtColor(_to_bytes(frame), cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] += shift
        hsv[..., 1] *= scale
        hsv = _to_bytes(hsv)
        hsv[..., 0] = np.minimum(hsv[..., 0], 179)
        result.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32))
    return result


def _to_bytes(frame: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(frame.astype(np.float32), 0, 255)).astype(np.uint8)


def brightness_reference(frames: Frames, shifts: Sequence[float]) -> Frames:
    """Adds a value to each frame and clips; gives frames of floats."""
    return [np.clip(frame + float(shift), 0, 255) for frame, shift in zip(frames, shifts, strict=True)]


def contrast_reference(frames: Frames, factors: Sequence[float]) -> Frames:
    """Multiplies each frame by a value and clips; gives frames of floats."""
    return [np.clip(frame * float(factor), 0, 255) for frame, factor in zip(frames, factors, strict=True)]


def draw_drift_reference(random: np.random.Generator, frames: int, delta: float, factors: bool = False) -> list[float]:
    """Draws a value per frame: U(-delta, delta) at key frames, or its exponential where `factors` are wanted."""
    keys = draw_keys_reference(random, frames, (0.7, 0.3))
    values = [random.uniform(-delta, delta) for _ in keys]
    return interpolate_reference(keys, [math.exp(value) for value in values] if factors else values,
                                 draw_kinds_reference(random, keys))


def to_tensor_reference(frames: Frames) -> Tensor:
    """Returns normalised float32 (3, T, H, W)."""
    clip = torch.from_numpy(np.stack(frames)).float().permute(3, 0, 1, 2) / 255
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        clip[channel].sub_(mean).div_(std)
    return clip


def run_reference(frames: Frames, random: np.random.Generator,
                  lap: Callable[[str], None] = lambda stage: None) -> tuple[Tensor, np.ndarray]:
    """Draws everything and runs the whole chain with the published numbers.

    Args:
        frames: T frames uint8 (H, W, 3) as decoded.
        random: Where everything is drawn from.
        lap: Called with the name of each stage when it is done.

    Returns:
        The network's input float32 (3, T, 112, 112), and the boxes int64 (3, T, 4).
    """
    frames = resize_reference(frames, int(random.choice(SHORT_SIDES)))
    lap('resize')
    height, width = frames[0].shape[:2]
    x, y = int(random.integers(width - CROP + 1)), int(random.integers(height - CROP + 1))
    frames = crop_reference(frames, x, y, CROP)
    lap('crop')
    if random.random() < 0.5:
        frames = flip_reference(frames)
    lap('flip')
    patches = draw_patches_reference(random, len(frames), CROP, CROP)
    frames = paste_reference(frames, **vars(patches))
    lap('paste')
    if random.random() < 0.25:
        frames = shift_hue_reference(frames, random.uniform(-12, 12), math.exp(random.uniform(-0.1, 0.1)))
    lap('hue')
    if random.random() < 0.5:
        frames = brightness_reference(frames, draw_drift_reference(random, len(frames), 30))
    lap('brightness')
    if random.random() < 0.5:
        frames = contrast_reference(frames, draw_drift_reference(random, len(frames), 0.12, factors=True))
    lap('contrast')
    clip = to_tensor_reference(frames)
    lap('normalise')
    return clip, patches.boxes
