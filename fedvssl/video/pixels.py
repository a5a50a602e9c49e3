"""Decoded frames as upright RGB arrays, in the size in which they are wanted."""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fedvssl.video.reader import Size, Window, window_of

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
        ValueError: If it is to be mirrored, or turned by something that is not a multiple of 90 degrees.
    """
    rgb = reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
    turns = quarter_turns(frame)
    return np.rot90(rgb, turns) if turns else rgb


def quarter_turns(frame: 'av.VideoFrame') -> int:
    """Returns how often a frame is to be turned by 90 degrees, against the clock.

    Raises:
        ValueError: If that is not all there is to do.
    """
    if not len(frame.side_data):  # by far the most; asking it for something takes ten times as long
        return 0
    matrix: Any = frame.side_data.get('DISPLAYMATRIX')  # a buffer; PyAV's types do not say so
    if matrix is None:
        return 0
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    if a * d - b * c < 0:
        raise ValueError('its display matrix mirrors the picture, which is not supported')
    turns, rest = divmod(frame.rotation, 90)
    if rest:
        raise ValueError(f'rotation by {frame.rotation} degrees; only multiples of 90 are supported')
    return int(turns)


class FrameStack:
    """Collects the frames of one request, in any order, into one array.

    A frame is cut and resized (OpenCV's bilinear interpolation, as in the published code) as soon as it is there.
    Scaling while colours are converted, as libswscale can, is slower than the two one after the other.

    Args:
        count: How many frames there will be.
        size: What they are resized to, if at all.
    """

    def __init__(self, count: int, size: Size | None = None) -> None:
        self._count, self._size = count, size
        self._frame_shape: tuple[int, ...] = ()
        self._window = Window(0, 0, 0, 0, 0, 0)
        self._frames = np.empty(0, np.uint8)

    def put(self, slot: int, rgb: np.ndarray) -> None:
        """Stores a frame (H, W, 3).

        Raises:
            ValueError: If it is not of the size of the others.
        """
        if not self._frame_shape:
            self._begin(rgb.shape)
        if rgb.shape != self._frame_shape:
            sizes = ' and '.join(f'{width}x{height}' for height, width, _ in (self._frame_shape, rgb.shape))
            raise ValueError(f'frames of different sizes: {sizes}')
        place, window = self._frames[slot], self._window
        part = rgb[window.top:window.bottom, window.left:window.right]
        if part.shape == place.shape:
            place[:] = part
        else:
            cv2.resize(part, (window.width, window.height), dst=place, interpolation=cv2.INTER_LINEAR)

    def _begin(self, shape: tuple[int, ...]) -> None:
        height, width, channels = shape
        self._window = window_of(self._size, width, height)
        self._frame_shape = shape
        self._frames = np.empty((self._count, self._window.height, self._window.width, channels), np.uint8)

    def array(self) -> np.ndarray:
        """Returns the frames (count, H, W, 3); every slot must have been filled."""
        assert self._frame_shape
        return self._frames
