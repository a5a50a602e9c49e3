"""Frames on the device where training wants them: which one that is, tensors for arrays, a reader that copies.

Here, and where a GPU decodes, torch is imported; nowhere else under `fedvssl.video`.
"""

import re
from typing import TYPE_CHECKING

import numpy as np

from fedvssl.errors import ConfigError
from fedvssl.video.errors import BackendUnavailableError, describe
from fedvssl.video.reader import FrameReader, Frames, Size, Window

if TYPE_CHECKING:
    import torch

CPU = 'cpu'

_NAME = re.compile(r'cpu|cuda(:[0-9]{1,3})?')
_KEY = 'data.decode.device'


def check_name(device: str) -> None:
    """Refuses what names no device.

    Raises:
        ConfigError: If it is neither ``'cpu'`` nor ``'cuda'`` nor ``'cuda:N'``.
    """
    if not _NAME.fullmatch(device):
        raise ConfigError(f"{_KEY}: must be 'cpu', 'cuda' or 'cuda:N', not {device!r}")


def torch_device(device: str) -> 'torch.device':
    """Returns a CUDA device that this process can use.

    Raises:
        ConfigError: If it cannot.
    """
    import torch

    if not torch.cuda.is_available():
        build = f'torch {torch.__version__}'
        # A forked process finds none either, once its parent has used CUDA.
        cause = 'finds none in this process' if torch.version.cuda else 'is built without CUDA'
        raise ConfigError(f'{_KEY}={device}: there is no CUDA device ({build} {cause}); set {_KEY}=cpu, or install a '
                          'CUDA build of torch and a driver')
    try:
        torch.cuda.get_device_properties(device)
    except Exception as error:  # no such number (AssertionError), a forked process (RuntimeError), a broken driver
        raise ConfigError(f'{_KEY}={device}: the device cannot be used here ({describe(error)}); there are '
                          f'{torch.cuda.device_count()}, for the process that trains and not for its forks; or set '
                          f'{_KEY}=cpu') from error
    return torch.device(device)


def resized(frames: 'torch.Tensor', size: tuple[int, int]) -> 'torch.Tensor':
    """Resizes frames where they are, bilinearly, with pixel centres where OpenCV has them, and without smoothing.

    Args:
        frames: (T, H, W, 3), uint8.
        size: The new width and height.

    Returns:
        Frames (T, H', W', 3), uint8; OpenCV's differ by rounding, one grey level at most.
    """
    if tuple(frames.shape[2:0:-1]) == tuple(size):
        return frames
    from torch.nn.functional import interpolate

    planes_TCHW = interpolate(frames.permute(0, 3, 1, 2).float(), (size[1], size[0]), mode='bilinear',
                              align_corners=False, antialias=False)
    return planes_TCHW.round_().byte().permute(0, 2, 3, 1).contiguous()


def windowed(frames: 'torch.Tensor', window: Window) -> 'torch.Tensor':
    """Cuts a window out of frames (T, H, W, 3), uint8, where they are, and resizes it."""
    if (window.left, window.top, window.right, window.bottom) != (0, 0, *frames.shape[2:0:-1]):
        frames = frames[:, window.top:window.bottom, window.left:window.right]
    return resized(frames, (window.width, window.height))


class UploadingReader(FrameReader):
    """Has another reader decode and resize on the CPU, and copies what comes out to a device.

    Args:
        reader: The other reader; it belongs to this one.
        device: Where frames are wanted.
    """

    def __init__(self, reader: FrameReader, device: 'torch.device') -> None:
        super().__init__(reader.path)
        self.backend, self.index, self.table = reader.backend, reader.index, reader.table
        self._reader, self._device = reader, device

    def __len__(self) -> int:
        return len(self._reader)

    def _decode(self, wanted: np.ndarray, size: Size | None) -> Frames:
        import torch

        frames = self._reader.get(wanted, size)
        tensor = torch.from_numpy(np.ascontiguousarray(frames)) if isinstance(frames, np.ndarray) else frames
        try:
            return tensor.to(self._device)
        except RuntimeError as error:  # out of memory, say: no fault of the file's
            raise BackendUnavailableError(self.backend, f'frames cannot be copied to {self._device} '
                                          f'({describe(error)})', f'set {_KEY}=cpu, or load fewer frames') from error

    def _close(self) -> None:
        self._reader.close()
