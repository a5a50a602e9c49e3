r"""Turning the hue, exactly as through HSV, without branches.

With V = max, L = min and C = V - L of a pixel's channels, hexagonal hue in sixths of a turn, h in [-3, 3] from red:

    h = ± (V - 2 L + G + B - R) / C,    negative where G < B

(in each of the six sectors this is HSV's: with C = 1 and L = 0, between red and yellow h = G, between yellow and green
2 - R, and so on; blue's side mirrors green's). The turned h, brought back to [-3, 3], gives the channels

    R = V - C·q(h),  G = L + C·q(h + 1),  B = L + C·q(h - 1),    q(u) = clamp(|u| - 1, 0, 1)

which leaves V and the saturation C / V as they were.

Source: Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978 (HSV).
"""

import torch
from torch import Tensor

TINY = 1e-20  # in place of C = 0: a grey pixel has no hue, any is right, but it must be finite


def turn_hue_(x_N3P: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue in place.

    Args:
        x_N3P: RGB in [0, 1], (N, 3, P).
        turns: Added to the hue, in whole turns, (N,).

    Returns:
        The given tensor.
    """
    red, green, blue = x_N3P.unbind(1)
    low, high = x_N3P.amin(1), x_N3P.amax(1)
    chroma = high - low
    hue = high.sub_(low, alpha=2).add_(green).add_(blue).sub_(red).div_(chroma.clamp(min=TINY))
    hue = torch.copysign(hue, green - blue).add_(turns[:, None], alpha=6)
    hue.sub_((hue / 6).round_(), alpha=6)
    shifts = torch.tensor([0, 1, -1], dtype=x_N3P.dtype, device=x_N3P.device)[:, None]
    torch.add(hue[:, None], shifts, out=x_N3P).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(low.add(chroma), red, chroma, value=-1, out=red)
    torch.addcmul(low[:, None], x_N3P[:, 1:], chroma[:, None], out=x_N3P[:, 1:])
    return x_N3P
