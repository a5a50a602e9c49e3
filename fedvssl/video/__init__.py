"""Videos as arrays of frames: one frame index, one reader interface, lazily loaded backends. Knows nothing of learning.

    with open_video('clip.mp4') as video:
        clip = video.get(range(0, 32, 2))  # (16, H, W, 3) uint8 RGB, or VideoDecodeError

Importing this package imports no decoder.
"""

from fedvssl.video.backends import AUTO, BACKENDS, open_video
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError
from fedvssl.video.reader import FrameReader

__all__ = ['AUTO', 'BACKENDS', 'BackendUnavailableError', 'FrameReader', 'VideoDecodeError', 'open_video']
