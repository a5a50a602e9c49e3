"""Decoded frames as upright RGB arrays."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter


def to_rgb(frame: 'av.VideoFrame', reformatter: 'VideoReformatter') -> np.ndarray:
    """Converts a frame to RGB and turns it as its rotation flag says (a phone held upright stores lying frames).

    Args:
        frame: The frame.
        reformatter: Reused, since it keeps libswscale's tables.

    Returns:
        (H, W, 3), uint8.

    Raises:
        ValueError: If the rotation is not a multiple of 90 degrees.
    """
    rgb = reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
    turns, rest = divmod(frame.rotation, 90)
    if rest:
        raise ValueError(f'rotation by {frame.rotation} degrees; only multiples of 90 are supported')
    return np.rot90(rgb, turns) if turns else rgb


class FrameStack:
    """Collects the frames of one request, in any order, into one array.

    Args:
        count: How many frames there will be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._frames: np.ndarray | None = None

    def put(self, slot: int, rgb: np.ndarray) -> None:
        """Stores a frame (H, W, 3).

        Raises:
            ValueError: If it is not of the size of the others.
        """
        if self._frames is None:
            self._frames = np.empty((self._count, *rgb.shape), np.uint8)
        if rgb.shape != self._frames.shape[1:]:
            sizes = ' and '.join(f'{width}x{height}' for height, width, _ in (self._frames.shape[1:], rgb.shape))
            raise ValueError(f'frames of different sizes: {sizes}')
        self._frames[slot] = rgb

    def array(self) -> np.ndarray:
        """Returns the frames (count, H, W, 3); every slot must have been filled."""
        assert self._frames is not None
        return self._frames
