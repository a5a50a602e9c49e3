"""Colour changes of a batch on the device: hue and saturation per clip, brightness and contrast that drift (CtP)."""

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor

from fedvssl.data.draws import Draws
from fedvssl.data.transforms import shift_hue as shift_hue_cv2
from fedvssl.errors import ConfigError
from fedvssl.models.augments.keyframes import KeyFrames, draw_kinds, require_probabilities
from fedvssl.registry import MODELS

HUES = 180  # OpenCV's 8-bit hue: half degrees


@MODELS.register_module()
class BatchHueSaturation:
    """With probability `p`, shifts a clip's hue by U(-hue, hue) and scales its saturation by exp U(-s, s).

    In OpenCV's 8-bit HSV, as published: hue is 0..179 and is clipped there, not wrapped. The same transform for frames
    on the CPU is `fedvssl.data.transforms.HueSaturation`; this one is for clips that were changed on the device.

    Args:
        p: Probability that a clip is changed.
        hue: Largest shift, in units of 2 degrees.
        saturation: s above.
        fast: Use one 3x3 matrix per clip instead of the way through HSV: a rotation about grey, and a scaling of the
            distance from grey. On real clips with p = 0.25 it differs by 0.7/255 on average, by 3/255 on those changed.
    """

    def __init__(self, p: float, hue: float = 12, saturation: float = 0.1, fast: bool = False) -> None:
        require_probabilities('BatchHueSaturation', p=p)
        self.p, self.hue, self.saturation, self.fast = p, hue, saturation, fast

    def __call__(self, clips: Tensor, samples: dict[str, Tensor], draws: Draws) -> Tensor:
        """Changes uint8 clips (B, M, T, H, W, 3)."""
        if clips.dtype != torch.uint8:
            raise ConfigError('BatchHueSaturation: takes uint8 clips; put it before brightness and contrast')
        chosen = (draws.uniform() < self.p).nonzero().flatten()
        shift = draws.between(-self.hue, self.hue)
        scale = draws.between(-self.saturation, self.saturation).exp()
        if not len(chosen):
            return clips
        change = rotate_hue if self.fast else shift_hue
        clips = clips.clone()
        for place in chosen.tolist():
            clips[place] = change(clips[place], shift[place], scale[place])
        return clips


def shift_hue(clip: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Shifts hue and scales saturation in 8-bit HSV.

    Args:
        clip: uint8 (..., H, W, 3) RGB.
        shift: Added to the hue, a scalar; the sum is rounded and clipped to 0..179.
        scale: Factor of the saturation, a scalar; the product is rounded and clipped to 0..255.
    """
    values = torch.arange(256, device=clip.device)
    hue = (values + shift).round().clamp(0, HUES - 1).to(torch.uint8)
    saturation = (values * scale).round().clamp(0, 255).to(torch.uint8)
    if clip.device.type == 'cpu':
        # Our clips lie in memory channel by channel here; OpenCV brings them together faster than torch.
        planes = [channel.reshape(-1, clip.shape[-2]).numpy() for channel in clip.unbind(-1)]
        changed = shift_hue_cv2(cv2.merge(planes), hue.numpy(), saturation.numpy())
        return torch.stack([torch.from_numpy(plane) for plane in cv2.split(changed)]).movedim(0, -1).view(clip.shape)
    hsv = rgb_to_hsv(clip).long()
    return hsv_to_rgb(torch.stack([hue[hsv[..., 0]], saturation[hsv[..., 1]], hsv[..., 2].to(torch.uint8)], dim=-1))


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Returns OpenCV's 8-bit HSV (hue in half degrees) of uint8 (..., 3), by its fixed-point arithmetic (12 bits)."""
    r, g, b = rgb.to(torch.int32).unbind(-1)
    value, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = value - low
    table = torch.arange(256, device=rgb.device, dtype=torch.float64)
    by_value, by_chroma = ((factor * 4096 / table.clamp(min=1)).round().to(torch.int32) * (table > 0)
                           for factor in (255, HUES / 6))
    saturation = (chroma * by_value[value.long()].to(torch.int32) + 2048) >> 12
    sector = torch.where(value == r, g - b, torch.where(value == g, b - r + 2 * chroma, r - g + 4 * chroma))
    hue = (sector * by_chroma[chroma.long()].to(torch.int32) + 2048) >> 12
    hue = torch.where(hue < 0, hue + HUES, hue)
    return torch.stack([hue, saturation, value], dim=-1).to(torch.uint8)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """Returns RGB uint8 (..., 3) of OpenCV's 8-bit HSV: in floats, and truncated, as OpenCV does it.

    Of all values 0.2 % differ by one from OpenCV 5's, whose own depend on a pixel's place in its row.
    """
    hue, saturation, value = hsv.to(torch.float32).unbind(-1)
    turn, saturation, value = hue * (6 / HUES), saturation / 255, value / 255
    sector = turn.floor()
    part = turn - sector
    p, q, t = (value * (1 - saturation * x) for x in (1.0, part, 1 - part))
    sector = sector.long() % 6
    red, green, blue = ([value, q, p, p, t, value], [t, value, value, q, p, p], [p, p, t, value, value, q])
    channels = [torch.stack(choices, dim=-1).gather(-1, sector[..., None]) for choices in (red, green, blue)]
    return (torch.cat(channels, dim=-1) * 255).to(torch.uint8)


def rotate_hue(clip: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Approximates `shift_hue` (same arguments) by one linear map of the colours."""
    channels = clip.movedim(-1, 0)
    changed = hue_matrix(shift, scale).to(torch.float32) @ channels.reshape(3, -1).to(torch.float32)
    return changed.round_().clamp_(0, 255).to(torch.uint8).view(channels.shape).movedim(0, -1)


def hue_matrix(shift: Tensor, scale: Tensor) -> Tensor:
    """Returns a matrix (3, 3) on RGB columns: a turn about grey by 2 degrees times `shift`, chroma times `scale`."""
    angle = torch.deg2rad(2 * shift)
    mean = torch.full((3, 3), 1 / 3, dtype=torch.float64, device=shift.device)
    chroma = torch.eye(3, dtype=torch.float64, device=shift.device) - mean
    turn = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64, device=shift.device) / 3 ** 0.5
    return mean + scale * (angle.cos() * chroma + angle.sin() * turn)


class _Drift:
    """With probability `p`, changes a clip by one value per frame, drawn at key frames, interpolated at random kinds.

    Args:
        p: Probability that a clip is changed.
        delta: Values at key frames are U(-delta, delta).
        key_probabilities: Probabilities of 0, 1, ... inner key frames.
    """

    def __init__(self, p: float, delta: float, key_probabilities: Sequence[float] = (0.7, 0.3)) -> None:
        require_probabilities(type(self).__name__, p=p, key_probabilities=key_probabilities)
        self.p, self.delta, self.key_probabilities = p, delta, key_probabilities

    def __call__(self, clips: Tensor, samples: dict[str, Tensor], draws: Draws) -> Tensor:
        """Changes clips (B, M, T, H, W, 3) uint8 or float32; gives float32 if any is changed, clipped to 0..255."""
        chosen, drift = self.draw(clips.shape[2], draws)
        places = chosen.nonzero().flatten().tolist()
        if places:
            clips = clips.to(torch.float32)
        for place in places:
            self.apply_(clips[place], drift[place].view(-1, 1, 1, 1)).clamp_(0, 255)
        return clips

    def draw(self, frames: int, draws: Draws) -> tuple[Tensor, Tensor]:
        """Returns whether each clip is changed (B,), and its value in each frame, float32 (B, T)."""
        keys = KeyFrames.draw(frames, self.key_probabilities, draws)
        at_keys = self.at_keys(draws.between(-self.delta, self.delta, keys.index.shape[-1]))
        drift = keys.interpolate(at_keys, draw_kinds(draws, keys)).to(torch.float32)
        return draws.uniform() < self.p, drift

    def at_keys(self, values: Tensor) -> Tensor:
        """Maps U(-delta, delta) to the values at key frames."""
        return values

    def apply_(self, clip: Tensor, drift: Tensor) -> Tensor:
        """Changes a clip (M, T, H, W, 3) in place by values (T, 1, 1, 1)."""
        raise NotImplementedError


@MODELS.register_module()
class DynamicBrightness(_Drift):
    """With probability `p`, adds to each frame a value that drifts between U(-delta, delta); clips to 0..255."""

    def apply_(self, clip: Tensor, drift: Tensor) -> Tensor:
        """Adds in place."""
        return clip.add_(drift)


@MODELS.register_module()
class DynamicContrast(_Drift):
    """With probability `p`, multiplies each frame by a factor that drifts between exp U(-delta, delta); clips."""

    def at_keys(self, values: Tensor) -> Tensor:
        """Maps to factors."""
        return values.exp()

    def apply_(self, clip: Tensor, drift: Tensor) -> Tensor:
        """Multiplies in place."""
        return clip.mul_(drift)
