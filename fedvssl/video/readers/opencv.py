"""The opencv backend: OpenCV decodes, the frame index says which frame it is.

Asked by number, OpenCV returns other frames where frames are not evenly spaced, where an edit list hides some, and in
transport streams, all without a word. So it is never asked by number: it is sent to about the right place, and what
comes out of it is told apart by its timestamp. Where frames have to be counted, it decodes from the first one on.

Damage is another matter. OpenCV's libavcodec patches damaged pictures with pieces of their neighbours and does not
mark them, and it hands on no option that would stop it. What the index cannot know (bytes that changed inside a
packet) is therefore returned as if nothing had happened. PyAV refuses such frames; so does the doctor, beforehand.
"""

from pathlib import Path

import cv2
import numpy as np

from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import index_for
from fedvssl.video.pixels import FrameStack
from fedvssl.video.reader import FrameReader, Opening, Size

# OpenCV seeks to a key frame at least so many frames ahead of the goal, and decodes from there.
_RUN_UP = 16

_BEFORE_THE_FIRST = -1


class OpenCVReader(FrameReader):
    """Reads through `cv2.VideoCapture`, in this thread.

    Args:
        path: The file.
        opening: Its timeout is not used: libavcodec runs in this process.

    Raises:
        VideoDecodeError: If the file is not a video, or OpenCV cannot open it, or takes another one of its streams, or
            frames are to be turned by an odd angle.
        BackendUnavailableError: If OpenCV was built without FFmpeg (or PyAV, which makes the index, is missing).
    """

    backend = 'opencv'

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            raise BackendUnavailableError(self.backend, 'this OpenCV was built without FFmpeg',
                                          'pip install opencv-python-headless')
        self.index: FrameIndex = index_for(path, opening.known, self.backend)
        if self.index.stream:
            raise self._refused('OpenCV takes the first of several video streams, and this is another one; use pyav')
        self._times = (self.index.pts - self.index.start) * self.index.tick
        self._capture = self._opened()

    def _opened(self) -> cv2.VideoCapture:
        """Opens the file, so that the next frame is the first one."""
        # An absolute path is no URL; and without a named backend, OpenCV would try image sequences as well.
        capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise self._refused('OpenCV cannot open it')
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # versions differ in whether they turn frames by themselves
        degrees = int(capture.get(cv2.CAP_PROP_ORIENTATION_META))
        if degrees % 90:
            raise self._refused(f'rotation by {degrees} degrees; only multiples of 90 are supported')
        self._turns = -degrees // 90  # clockwise there, counter-clockwise in NumPy
        self._at = _BEFORE_THE_FIRST
        return capture

    def __len__(self) -> int:
        return self.index.frames

    def _close(self) -> None:
        self._capture.release()

    def _decode(self, wanted: np.ndarray, size: Size | None) -> np.ndarray:
        stack = FrameStack(len(wanted), size)
        for slot, number in enumerate(wanted.tolist()):
            if not self._reach(number):
                raise self._refused(f'frame {number} of {self.index.frames} did not come out of OpenCV; use pyav')
            stack.put(slot, self._current())
        return stack.array()

    def _reach(self, number: int) -> bool:
        """Makes a frame the current one; returns whether that succeeded."""
        landing = self._landing(number)
        if landing is not None and not landing <= self._at <= number:
            # OpenCV takes frames to be evenly spaced. One interval early, it is seldom too late where they are not.
            interval = 1 / max(self._capture.get(cv2.CAP_PROP_FPS), 1)
            self._capture.set(cv2.CAP_PROP_POS_MSEC, max(self._times[number] - interval, 0) * 1000)
            self._at = _BEFORE_THE_FIRST
            if self._advance(number):
                return True
        elif self._at <= number and self._advance(number):
            return True
        self._capture.release()
        self._capture = self._opened()
        return self._advance(number)

    def _landing(self, number: int) -> int | None:
        """Returns the frame from which OpenCV decodes after a seek, at the latest; None where it must not seek."""
        if not self.index.seekable or number <= _RUN_UP:
            return None
        key = self.index.key_pts[self.index.starts[number - _RUN_UP]]
        return int(np.searchsorted(self.index.pts, key))

    def _advance(self, number: int) -> bool:
        """Decodes up to a frame, unless it is already there; returns whether it turned up."""
        while self._at < number:
            if not self._capture.grab():
                self._at = self.index.frames  # from here, nothing can be reached
                return False
            self._at = self._at + 1 if self.index.counted else self._number()
        return self._at == number

    def _number(self) -> int:
        """Returns which frame the current one is by its timestamp; the last known one if that tells nothing."""
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        number = int(np.searchsorted(self._times, time - self.index.tick / 2))
        exact = number < self.index.frames and abs(self._times[number] - time) < self.index.tick / 2
        return number if exact else self._at

    def _current(self) -> np.ndarray:
        """Returns the current frame (H, W, 3), RGB, upright."""
        there, frame = self._capture.retrieve()
        expected = (self.index.height, self.index.width, 3)
        if not there or frame.shape != expected:
            raise self._refused(f'OpenCV returns {frame.shape if there else "nothing"} instead of {expected}; use pyav')
        return np.rot90(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), self._turns)

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, reason)
