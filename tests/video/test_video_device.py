"""Frames for a device: which backend serves, what is said when another one has to, and tensors that equal the arrays.

Without a GPU: the backends that need one are stand-ins on the CPU, and the device is the CPU by another name.
"""

import logging
import os
import zipfile

import cv2
import numpy as np
import pytest
import torch
from watermark import RECIPES, damage, read_numbers

from fedvssl.errors import ConfigError
from fedvssl.video import BACKENDS, BackendUnavailableError, VideoDecodeError, backends, choice, devices, open_video
from fedvssl.video.container import VideoFile
from fedvssl.video.indexing import index_of
from fedvssl.video.reader import Opening
from fedvssl.video.readers.pyav import PyAVReader
from fedvssl.video.selftest import SelfTest

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')


class Gpu(PyAVReader):
    """Stands in for torchcodec-cuda; what it does is set by the tests."""

    backend = 'torchcodec-cuda'
    opened: list[str] = []
    at_open: Exception | None = None
    at_get: Exception | None = None
    shift = 0

    def __init__(self, path, opening):
        self.opened.append(self.backend)
        if self.at_open is not None:
            raise self.at_open
        super().__init__(path, opening)

    def _decode(self, wanted, size):
        if self.at_get is not None and 20 in wanted:
            size = size and size(1, 1)  # it has asked for the size before it fails
            raise self.at_get
        return torch.from_numpy(super()._decode(np.minimum(wanted + self.shift, len(self) - 1), size))


class SecondGpu(Gpu):
    """Stands in for pyav-cuda."""

    backend = 'pyav-cuda'

    def _decode(self, wanted, size):
        return super()._decode(wanted, size).numpy()


@pytest.fixture
def gpu(monkeypatch):
    """A process that knows nothing yet, with stand-ins for the backends of a GPU."""
    for reader in (Gpu, SecondGpu):
        monkeypatch.setattr(reader, 'opened', Gpu.opened)
        for name in ('at_open', 'at_get', 'shift'):
            monkeypatch.setattr(reader, name, getattr(Gpu, name))
    Gpu.opened.clear()
    monkeypatch.setattr(backends, 'BACKENDS', {**BACKENDS, 'torchcodec-cuda': f'{__name__}:Gpu',
                                               'pyav-cuda': f'{__name__}:SecondGpu'})
    monkeypatch.setattr(choice, '_GPU_BACKENDS', ('torchcodec-cuda', 'pyav-cuda'))
    monkeypatch.setattr(backends, '_self_test', SelfTest())
    monkeypatch.setattr(backends, '_once', choice.Once())
    monkeypatch.setattr(backends, '_unavailable', {})
    monkeypatch.setattr(devices, 'torch_device', lambda device: torch.device('cpu'))


@pytest.fixture
def said(caplog):
    """Returns what was warned about since it was last asked."""
    caplog.set_level(logging.INFO, 'fedvssl')

    def messages(level: int = logging.WARNING) -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelno == level]
        caplog.clear()
        return found

    return messages


def missing(name: str) -> BackendUnavailableError:
    return BackendUnavailableError(name, 'OSError: libnvrtc.so.13', 'pip install it')


def numbers(frames: torch.Tensor) -> list[int]:
    assert isinstance(frames, torch.Tensor)
    assert frames.dtype == torch.uint8
    return read_numbers(frames.numpy())


@pytest.mark.parametrize(('name', 'backend'), [
    ('h264_gop12', 'torchcodec-cuda'), ('h264_open_gop', 'torchcodec-cuda'), ('hevc', 'torchcodec-cuda'),
    ('vp9_webm', 'torchcodec-cuda'), ('h264_in_avi', 'pyav'), ('mpeg4_avi', 'pyav'), ('mpeg4_avi_b', 'pyav'),
    ('mpeg4_mp4_b', 'pyav'), ('mjpeg_avi', 'pyav'), ('vp8_webm', 'pyav'), ('mpeg2_ps', 'pyav')])
def test_what_auto_takes_for_a_device(name, backend, video, gpu, said):
    with open_video(video(name), device='cuda:0') as reader:
        assert reader.backend == backend
        assert len(reader) == RECIPES[name].frames
        assert numbers(reader.get([7, 3, 7])) == [7, 3, 7]
    assert not said()
    with open_video(video(name)) as reader:
        assert reader.backend == 'pyav'
        assert isinstance(reader.get([3]), np.ndarray)


def test_the_backend_that_runs_is_logged_once(video, gpu, said):
    for name in ('h264_gop12', 'h264_no_b', 'mpeg4_avi', 'mpeg4_avi'):
        open_video(video(name), device='cuda').close()
    first, second = said(logging.INFO)
    assert "(h264 in mov,mp4,m4a,3gp,3g2,mj2) are read with backend 'torchcodec-cuda', for device 'cuda'" in first
    assert "(mpeg4 in avi) are read with backend 'pyav'" in second


def test_zips_and_folders_are_copied(tmp_path, gpu, said):
    for name in ('clip.zip', 'clip'):
        images = {f'img_{i:05d}.png': cv2.imencode('.png', np.full((8, 8, 3), i, np.uint8))[1] for i in (1, 2)}
        if name == 'clip':
            (tmp_path / name).mkdir()
            for image, data in images.items():
                (tmp_path / name / image).write_bytes(data.tobytes())
        else:
            with zipfile.ZipFile(tmp_path / name, 'w') as file:
                for image, data in images.items():
                    file.writestr(image, data.tobytes())
        with open_video(tmp_path / name, device='cuda') as reader:
            assert reader.backend == ('frames' if name == 'clip' else 'zip-jpeg')
            assert reader.get([1, 0])[:, 0, 0, 0].tolist() == [2, 1]
    assert not said()


def test_one_warning_says_what_is_wrong_and_what_to_do(video, gpu, said, monkeypatch):
    monkeypatch.setattr(Gpu, 'at_open', missing('torchcodec-cuda'))
    for name in ('h264_gop12', 'h264_no_b', 'hevc'):
        with open_video(video(name), device='cuda') as reader:
            assert reader.backend == 'pyav-cuda'
            assert numbers(reader.get([20])) == [20]
    warning, = said()
    assert str(video('h264_gop12')) in warning
    assert ("'torchcodec-cuda' is passed over: OSError: libnvrtc.so.13; pip install it. Next comes 'pyav-cuda'. (Said "
            'once') in warning
    assert Gpu.opened.count('torchcodec-cuda') == 1  # what cannot be loaded is not loaded again


def test_after_both_comes_the_cpu(video, gpu, said, monkeypatch):
    monkeypatch.setattr(Gpu, 'at_open', missing('torchcodec-cuda'))
    monkeypatch.setattr(SecondGpu, 'at_open', missing('pyav-cuda'))
    for _ in range(3):
        with open_video(video('h264_gop12'), device='cuda') as reader:
            assert reader.backend == 'pyav'
            assert numbers(reader.get([20, 2])) == [20, 2]
            assert tuple(reader.get([20, 2], (64, 32)).shape) == (2, 32, 64, 3)
    warnings = said()
    assert len(warnings) == 2
    assert "Next comes 'pyav', which decodes on the CPU; frames are copied." in warnings[1]


def test_a_lack_of_memory_may_pass(video, gpu, said, monkeypatch):
    error = BackendUnavailableError('torchcodec-cuda', 'RuntimeError: CUDA out of memory', 'use less')
    monkeypatch.setattr(Gpu, 'at_open', error)
    open_video(video('h264_gop12'), device='cuda').close()
    monkeypatch.setattr(Gpu, 'at_open', None)
    with open_video(video('h264_gop12'), device='cuda') as reader:
        assert reader.backend == 'torchcodec-cuda'
    assert len(said()) == 1


def test_a_refusal_is_that_of_one_file(video, gpu, said, monkeypatch):
    def refused(number: int) -> VideoDecodeError:
        return VideoDecodeError(video('hevc'), 'torchcodec-cuda', f'it counts {number} frames, the index 60; use pyav')

    for number in (59, 61):
        monkeypatch.setattr(Gpu, 'at_open', refused(number))
        with open_video(video('hevc'), device='cuda') as reader:
            assert reader.backend == 'pyav-cuda'
    assert len(said()) == 1  # the same reason but for numbers
    monkeypatch.setattr(Gpu, 'at_open', None)
    with open_video(video('hevc'), device='cuda') as reader:
        assert reader.backend == 'torchcodec-cuda'


def test_a_backend_that_shifts_frames_is_demoted(video, gpu, said, monkeypatch):
    monkeypatch.setattr(Gpu, 'shift', 1)
    monkeypatch.setattr(SecondGpu, 'shift', 0)
    for _ in range(2):
        with open_video(video('h264_gop12'), device='cuda') as reader:
            assert reader.backend == 'pyav-cuda'
            assert numbers(reader.get([20, 30])) == [20, 30]
    warning, = said()
    assert "'torchcodec-cuda' is passed over: it returns other frames than the frame index says" in warning
    monkeypatch.setattr(Gpu, 'shift', 0)
    with open_video(video('vp9_webm'), device='cuda') as reader:  # another kind of file
        assert reader.backend == 'torchcodec-cuda'


def test_a_reader_that_fails_later_on_is_replaced(video, gpu, said, monkeypatch):
    monkeypatch.setattr(Gpu, 'at_get', VideoDecodeError(video('h264_gop12'), 'torchcodec-cuda', 'NVDEC gave up'))
    monkeypatch.setattr(SecondGpu, 'at_get', missing('pyav-cuda'))
    asked = []

    def size(width, height):
        asked.append((width, height))
        return width * len(asked), height

    with open_video(video('h264_gop12'), device='cuda') as reader:
        assert reader.backend == 'torchcodec-cuda'
        assert numbers(reader.get([10, 30])) == [10, 30]
        frames = reader.get([20, 5], size)
        assert reader.backend == 'pyav'
        assert len(asked) == 1  # though three backends wanted to know
        assert frames.shape[0] == 2
        with pytest.raises(ValueError, match='outside'):
            reader.get([60])
    assert len(said()) == 2
    with pytest.raises(VideoDecodeError, match='closed'):
        reader.get([1])


def test_what_is_wrong_with_the_file_is_raised_in_the_end(video, gpu, tmp_path):
    path = tmp_path / 'bad.mp4'
    for data in (b'nonsense', video('h264_gop12').read_bytes()[:900]):
        path.write_bytes(data)
        with pytest.raises(VideoDecodeError) as caught:
            open_video(path, device='cuda')
        assert (caught.value.path, caught.value.backend) == (str(path), 'pyav')
    damage(video('h264_gop12'), path, 10, 50)
    with pytest.raises(VideoDecodeError) as caught, open_video(path, device='cuda') as reader:
        reader.get(range(len(reader)))
    assert caught.value.backend == 'pyav'
    assert Gpu.opened  # but it tried the others first


def test_a_module_that_does_not_load_is_not_the_files_fault(video, monkeypatch):
    monkeypatch.setattr(backends, 'BACKENDS', {**BACKENDS, 'opencv': 'fedvssl.video.no_such_module:Reader'})
    with pytest.raises(BackendUnavailableError, match="'opencv' cannot run: ModuleNotFoundError"):
        open_video(video('h264_gop12'), 'opencv')


def test_a_backend_named_explicitly_is_never_replaced(video, gpu, said, monkeypatch):
    monkeypatch.setattr(Gpu, 'at_open', missing('torchcodec-cuda'))
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match='pip install it'):
            open_video(video('h264_gop12'), 'torchcodec-cuda', device='cuda')
    monkeypatch.setattr(Gpu, 'at_open', None)
    monkeypatch.setattr(Gpu, 'shift', 1)
    with pytest.raises(VideoDecodeError, match='other frames'):
        open_video(video('h264_gop12'), 'torchcodec-cuda', device='cuda')
    for backend in ('pyav', 'opencv'):
        with open_video(video('h264_gop12'), backend, device='cuda') as reader:
            assert reader.backend == backend
            assert numbers(reader.get([9, 3])) == [9, 3]
    assert not said()


def test_gpu_backends_need_a_gpu(video):
    for backend in ('torchcodec-cuda', 'pyav-cuda'):
        with pytest.raises(ConfigError, match=f"'{backend}' decodes on a GPU: set data.decode.device=cuda"):
            open_video(video('h264_gop12'), backend)


@pytest.mark.parametrize('device', ['gpu', 'cuda:', 'cuda:x', 'CUDA', '', 'mps', 'meta', 'cuda:1 '])
def test_names_of_devices(device, video):
    with pytest.raises(ConfigError, match='data.decode.device: must be'):
        open_video(video('h264_gop12'), device=device)


@no_gpu
def test_cuda_without_cuda_is_a_mistake_in_the_config(video):
    for backend in ('auto', 'pyav', 'torchcodec-cuda'):
        with pytest.raises(ConfigError, match='data.decode.device=cuda:1: there is no CUDA device .*=cpu'):
            open_video(video('h264_gop12'), backend, device='cuda:1')


def test_a_device_that_cannot_be_used_is_a_mistake_in_the_config(monkeypatch):
    def invalid(device):
        raise AssertionError('Invalid device id')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', invalid)
    with pytest.raises(ConfigError, match='cuda:7: the device cannot be used here .AssertionError: Invalid device id'):
        devices.torch_device('cuda:7')
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: None)
    assert devices.torch_device('cuda:7') == torch.device('cuda', 7)


@no_gpu
def test_pyav_without_cuda_is_not_the_files_fault(video):
    from fedvssl.video.readers.pyav_cuda import PyAVCudaReader

    before = len(os.listdir('/proc/self/fd'))  # noqa: PTH208
    for device in ('cuda', 'cuda:1'):
        with pytest.raises(BackendUnavailableError, match="'pyav-cuda' cannot run: .*data.decode.device=cpu"):
            PyAVCudaReader(video('h264_gop12'), Opening(device=device))
    with pytest.raises(VideoDecodeError, match='have to be counted'):
        PyAVCudaReader(video('mpeg4_avi_b'), Opening(device='cuda'))
    assert len(os.listdir('/proc/self/fd')) <= before  # noqa: PTH208


def test_a_codec_that_nvdec_does_not_know_is_refused(video, monkeypatch):
    """PyAV says so where no stream of the file can be decoded; where another one can, it does not."""
    from fedvssl.video.readers import pyav_cuda

    monkeypatch.setattr(pyav_cuda, 'VideoFile', lambda path, hardware: VideoFile(path))
    with pytest.raises(VideoDecodeError, match='NVDEC does not decode h264 here'):
        pyav_cuda.PyAVCudaReader(video('h264_gop12'), Opening(device='cuda'))

    def incompatible(path, hardware):
        raise RuntimeError('Hardware accelerated decode requested but no stream is compatible')

    monkeypatch.setattr(pyav_cuda, 'VideoFile', incompatible)
    monkeypatch.setattr(devices, 'torch_device', lambda device: torch.device('cpu'))
    with pytest.raises(VideoDecodeError, match='no stream is compatible'):
        open_video(video('h264_gop12'), 'pyav-cuda', device='cuda')


def test_a_copy_has_the_same_pixels(video):
    with open_video(video('h264_gop12')) as reader:
        expected = reader.get([9, 4, 9])
        copying = devices.UploadingReader(reader, torch.device('cpu'))
        assert (copying.backend, copying.index, len(copying)) == ('pyav', reader.index, 60)
        assert np.array_equal(copying.get([9, 4, 9]).numpy(), expected)
        with pytest.raises(ValueError, match='outside'):
            copying.get([60])
        elsewhere = devices.UploadingReader(reader, torch.device('meta')).get([9, 4], (32, 24))
        assert (elsewhere.device.type, tuple(elsewhere.shape)) == ('meta', (2, 24, 32, 3))


def test_a_full_device_is_not_the_files_fault(video, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    with open_video(video('h264_gop12')) as reader:
        copying = devices.UploadingReader(reader, torch.device('cpu'))
        monkeypatch.setattr(torch.Tensor, 'to', full)
        with pytest.raises(BackendUnavailableError, match='out of memory.*data.decode.device=cpu'):
            copying.get([1])


@pytest.mark.parametrize('size', [(64, 32), (171, 128), (48, 100), (1, 1), (128, 64)])
def test_resizing_is_opencvs(size):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 128, 3), np.uint8)
    got = devices.resized(torch.from_numpy(frames), size)
    assert got.dtype == torch.uint8
    assert got.is_contiguous()
    expected = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])
    assert np.abs(got.numpy().astype(int) - expected).max() <= 1
    assert np.abs(got.numpy().astype(int) - expected).mean() < 0.2


def test_an_index_that_is_known_is_not_made_again(video, gpu, monkeypatch):
    index = index_of(video('h264_gop12'))
    kept = []

    class Indices:
        def get(self, path, kind):
            return index

        def put(self, path, index):
            kept.append(path)

    monkeypatch.setattr(backends, 'index_of', None)
    with open_video(video('h264_gop12'), device='cuda', indices=Indices()) as reader:
        assert reader.index is index
        assert numbers(reader.get([30])) == [30]
    assert not kept


def test_what_auto_takes_for_a_gpu(video):
    """PyAV's CUDA decoder has to be named: it makes a context for every file."""
    assert choice.on_gpu(index_of(video('h264_gop12'))) == ['torchcodec-cuda', 'pyav']
    assert choice.on_gpu(index_of(video('mpeg4_avi'))) == ['pyav']
    assert choice.on_gpu(index_of(video('h264_in_avi'))) == ['pyav']  # its frames are counted
