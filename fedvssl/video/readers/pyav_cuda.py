"""The pyav-cuda backend: NVDEC decodes, and PyAV fetches the pictures into memory and converts them as it always does.

It needs nothing but PyAV and a driver, and finds frames as the default backend does. But every picture crosses the bus
twice, and every open file has a CUDA context of its own, which takes time and memory: FFmpeg shares torch's only where
it was the first to make it. So this is the second choice.
"""

from dataclasses import replace
from pathlib import Path

from fedvssl.video.container import VideoFile, load_av
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.indexing import index_for
from fedvssl.video.reader import Opening
from fedvssl.video.readers.pyav import PyAVReader


class PyAVCudaReader(PyAVReader):
    """Reads with PyAV and NVDEC, in this thread.

    Args:
        path: The file.
        opening: Its device says which GPU decodes.

    Raises:
        VideoDecodeError: As `PyAVReader`, and if frames have to be counted, or NVDEC does not know the codec.
        BackendUnavailableError: If there is no such GPU, or its driver cannot decode.
    """

    backend = 'pyav-cuda'

    def __init__(self, path: Path, opening: Opening) -> None:
        index = index_for(path, opening.known, self.backend)
        if index.counted:  # whether hardware delivers as many frames as the CPU does is not known
            raise VideoDecodeError(path, self.backend, f'frames have to be counted ({index.counted_because}); use pyav')
        super().__init__(path, replace(opening, known=index))

    def _file(self, opening: Opening) -> VideoFile:
        load_av()
        from av.codec.hwaccel import HWAccel

        number = opening.device.partition(':')[2] or None
        try:
            video = VideoFile(self.path, HWAccel('cuda', number, allow_software_fallback=False))
        except (VideoDecodeError, RuntimeError):  # the latter: a codec that NVDEC does not know
            raise
        except Exception as error:  # PermissionError, even; the file has just been read for its index
            remedy = 'it needs an NVIDIA driver with libnvcuvid; or set data.decode.device=cpu'
            raise BackendUnavailableError(self.backend, describe(error), remedy) from error
        if not video.context.is_hwaccel:  # another stream of the file is what NVDEC could decode
            video.close()
            raise VideoDecodeError(self.path, self.backend, f'NVDEC does not decode {video.codec} here')
        return video
