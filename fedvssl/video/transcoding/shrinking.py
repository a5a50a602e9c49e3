"""Small upright frames, in the colours that a codec stores.

Planes of 4:2:0 frames, that is of nearly all videos, are resized one by one: that takes a third of what colours there
and back would, and leaves to every reader how it makes RGB of them. Everything else is made RGB first. Pixels are
averaged over areas (`cv2.INTER_AREA`), so that what is too fine for the small frame cannot turn into other patterns;
those look different in each frame, and cost bits.
"""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fedvssl.video.container import load_av
from fedvssl.video.pixels import quarter_turns, to_rgb
from fedvssl.video.transcoding.sequence import Picture

if TYPE_CHECKING:
    import av

_PLANAR = frozenset({'yuv420p', 'yuvj420p'})


def stored_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Returns the size in which a frame is stored: even, as 4:2:0 needs it, and never larger than the frame.

    Args:
        width: Of the upright frame.
        height: Likewise.
        short_side: What the shorter side becomes.

    Raises:
        ValueError: If the frame is too narrow to be stored.
    """
    if min(width, height) < 2:
        raise ValueError(f'{width}x{height} frames are too narrow to be stored')
    scale = short_side / min(width, height)
    if scale >= 1:
        return width // 2 * 2, height // 2 * 2
    return max(2 * round(width * scale / 2), 2), max(2 * round(height * scale / 2), 2)


class Shrinker:
    """Shrinks the frames of one video, which are all of one size.

    Args:
        short_side: See `stored_size`. A last odd row or column is cut off where it does not shrink.
    """

    def __init__(self, short_side: int) -> None:
        self._short_side = short_side
        self._av = load_av()
        self._to_rgb = self._av.video.reformatter.VideoReformatter()

    def __call__(self, picture: Picture) -> 'av.VideoFrame':
        """Returns a small upright frame of format yuv420p, yuvj420p (with the colour tags of the large one) or rgb24.

        Raises:
            ValueError: If the frame is too narrow, or turned by an angle that is no multiple of 90 degrees.
        """
        if not isinstance(picture, np.ndarray):
            if picture.format.name in _PLANAR:
                return self._shrink_planes(picture)
            picture = to_rgb(picture, self._to_rgb)
        width, height = stored_size(picture.shape[1], picture.shape[0], self._short_side)
        small = np.ascontiguousarray(picture[:height, :width] if _fits(picture, width, height) else
                                     cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        return self._av.VideoFrame.from_ndarray(small, format='rgb24')

    def _shrink_planes(self, frame: 'av.VideoFrame') -> 'av.VideoFrame':
        turns = quarter_turns(frame)
        planes = [np.rot90(plane, turns) if turns else plane for plane in planes_of(frame)]
        width, height = stored_size(planes[0].shape[1], planes[0].shape[0], self._short_side)
        small = self._av.VideoFrame(width, height, frame.format.name)
        as_it_is = _fits(planes[0], width, height)  # of all planes alike
        for source, target in zip(planes, planes_of(small), strict=True):
            high, wide = target.shape
            target[:] = source[:high, :wide] if as_it_is else cv2.resize(source, (wide, high),
                                                                         interpolation=cv2.INTER_AREA)
        small.colorspace, small.color_range = frame.colorspace, frame.color_range
        small.color_primaries, small.color_trc = frame.color_primaries, frame.color_trc
        return small


def planes_of(frame: 'av.VideoFrame') -> list[np.ndarray]:
    """Returns the planes (H, W) of a planar 8-bit frame, uint8, without copying."""
    planes: Any = frame.planes  # buffers; PyAV's types do not say so
    return [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:plane.height, :plane.width]
            for plane in planes]


def _fits(picture: np.ndarray, width: int, height: int) -> bool:
    """Whether no more is to be done than to leave out an odd row or column."""
    return picture.shape[1] - width < 2 and picture.shape[0] - height < 2
