"""The torchcodec backends: on the CPU, and on a GPU, where frames are decoded by NVDEC and stay.

torchcodec numbers frames by their timestamps, as our index does, but by its own scan of the file. So its timestamps are
compared with those of the index at every request; where frames have to be counted (XviD, that is UCF-101), it is some
frames off, and is not asked at all. Damage is concealed rather than refused, on either device.

On a GPU, what NVDEC cannot decode torchcodec decodes on the CPU, without a word. That is refused here: a reader that
says it runs on a GPU does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.video.devices import CPU, windowed
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import index_for
from fedvssl.video.pixels import FrameStack
from fedvssl.video.reader import FrameReader, Frames, Opening, Size, Window, window_of

_REMEDY = ('it needs the shared libraries of FFmpeg (apt install ffmpeg), and torchcodec==0.13.* beside a CPU build of '
           'torch >= 2.11, a later one beside a CUDA build')
_GPU_REMEDY = ("it needs torchcodec >= 0.14 beside a CUDA build of torch, NPP, and the driver's libnvcuvid; or set "
               'data.decode.device=cpu')

# What the messages of its RuntimeErrors have in common that no file is to blame for.
_NOT_THE_FILE = ('libtorchcodec', 'NPP', 'NVCUVID', 'CUDA', 'Unsupported device', 'out of memory')


# Frames are decoded in their full size before they are resized.
_AT_ONCE = 16


class TorchCodecReader(FrameReader):
    """Reads with torchcodec, in this thread.

    Args:
        path: The file.
        opening: Its timeout is not used.

    Raises:
        VideoDecodeError: If the file is not a video, or one that torchcodec numbers otherwise or cannot decode.
        BackendUnavailableError: If torchcodec (or PyAV, which makes the index) cannot run.
    """

    backend = 'torchcodec'
    _remedy = _REMEDY

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        decoder = self._load()
        self.index: FrameIndex = index_for(path, opening.known, self.backend)
        if reason := _numbered_wrongly(self.index):
            raise self._refused(f'torchcodec numbers frames wrongly here ({reason}); use pyav')
        try:
            self._decoder = decoder(str(path.absolute()), dimension_order='NHWC', num_ffmpeg_threads=1,
                                    device=self._device(opening), seek_mode='exact')
        except Exception as error:  # RuntimeError, mostly; ValueError where there is no video
            raise self._blamed(error) from error
        if len(self._decoder) != self.index.frames:
            raise self._refused(f'torchcodec counts {len(self._decoder)} frames, the frame index {self.index.frames}; '
                                'use pyav')

    def _load(self) -> Any:
        try:
            from torchcodec.decoders import VideoDecoder
        except Exception as error:  # ImportError, OSError or RuntimeError, by version and by what is missing
            raise BackendUnavailableError(self.backend, describe(error), self._remedy) from error
        return VideoDecoder

    def _device(self, opening: Opening) -> str:
        return CPU

    def __len__(self) -> int:
        return self.index.frames

    def _close(self) -> None:
        del self._decoder  # it has no other way of closing the file

    def _decode(self, wanted: np.ndarray, size: Size | None) -> Frames:
        stack = FrameStack(len(wanted), size)
        for slot, frame in enumerate(frame for some in self._pieces(wanted) for frame in some.numpy()):
            stack.put(slot, frame)
        return stack.array()

    def _pieces(self, wanted: np.ndarray) -> Iterator[Any]:
        """Yields frames in tensors (T, H, W, 3), uint8, upright, on the decoder's device."""
        for start in range(0, len(wanted), _AT_ONCE):
            yield self._exactly(wanted[start:start + _AT_ONCE])

    def _exactly(self, wanted: np.ndarray) -> Any:
        try:
            batch = self._decoder.get_frames_at(wanted.tolist())
        except Exception as error:
            raise self._blamed(error) from error
        wrong = np.abs(batch.pts_seconds.numpy() - self.index.seconds[wanted]) > self.index.tick / 2
        if wrong.any():
            raise self._refused(f'torchcodec returns another frame than number {wanted[wrong][0]}; use pyav')
        lying = (self.index.height, self.index.width)
        turned = (self._decoder.metadata.rotation or 0) % 180 != 0  # it turns frames by itself
        expected = (len(wanted), *(lying[::-1] if turned else lying), 3)
        if tuple(batch.data.shape) != expected:
            raise self._refused(f'torchcodec returns {tuple(batch.data.shape)} instead of {expected}; use pyav')
        return batch.data

    def _blamed(self, error: Exception) -> Exception:
        """Makes of torchcodec's exception one that says whether the file is to blame."""
        words = str(error).replace(str(self.path.absolute()), '')
        if any(word in words for word in _NOT_THE_FILE):
            return BackendUnavailableError(self.backend, describe(error), self._remedy)
        return self._refused(describe(error))

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, reason)


def _numbered_wrongly(index: FrameIndex) -> str:
    """Returns why torchcodec would return other frames, or lose them, if that is known."""
    if index.counted:
        return index.counted_because
    if not index.seekable:
        return f'{index.format} has no table of its frames'
    return 'an edit list hides the first key frame' if index.key_pts[0] < index.pts[0] else ''


class TorchCodecCudaReader(TorchCodecReader):
    """Reads with torchcodec on a GPU: frames are decoded, resized and returned there, as a tensor.

    Args:
        path: The file.
        opening: Its device is where all of it happens.

    Raises:
        VideoDecodeError: As `TorchCodecReader`, and if NVDEC cannot decode the file.
        BackendUnavailableError: If torchcodec cannot run, or not on that device.
    """

    backend = 'torchcodec-cuda'
    _remedy = _GPU_REMEDY

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path, opening)
        self._check_hardware()

    def _device(self, opening: Opening) -> str:
        return opening.device

    def _decode(self, wanted: np.ndarray, size: Size | None) -> Frames:
        import torch

        pieces: list[torch.Tensor] = []
        window: Window | None = None
        for frames in self._pieces(wanted):
            self._check_hardware()  # one of its two CUDA backends does not know before it has decoded something
            window = window or window_of(size, frames.shape[2], frames.shape[1])
            pieces.append(windowed(frames, window))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _check_hardware(self) -> None:
        fallback = self._decoder.cpu_fallback
        if fallback:
            raise self._refused(f'NVDEC does not decode it ({fallback})')
