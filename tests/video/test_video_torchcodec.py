"""torchcodec under our frame index: every frame is the right one, or refused; on a GPU, by the GPU.

The real one is tested where it can be imported (it wants FFmpeg's shared libraries), on the CPU; the reader for GPUs
runs there, too. What only a GPU shows is played by a stand-in.
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from watermark import RECIPES, read_numbers, sequential, write_video

from fedvssl.video import BackendUnavailableError, VideoDecodeError, open_video
from fedvssl.video.reader import Opening
from fedvssl.video.readers.pyav import PyAVReader
from fedvssl.video.readers.torchcodec import TorchCodecCudaReader, TorchCodecReader

# It is off where frames are counted, and lost where there is no table of them.
REFUSED = {'h264_in_avi': 'presentation timestamps', 'mpeg4_avi_b': 'presentation timestamps',
           'vp8_webm': 'need not be frames', 'h264_ts': 'no table', 'mpeg2_ps': 'no table'}
NOW_AND_THEN = {'h264_intra_refresh'}  # key frames from which one cannot begin

READERS = [TorchCodecReader, TorchCodecCudaReader]


def _why_not() -> str:
    try:
        from torchcodec.decoders import VideoDecoder  # noqa: F401
    except Exception as error:  # ImportError, OSError, RuntimeError
        return f'torchcodec cannot be imported: {type(error).__name__}: {str(error).splitlines()[0]}'
    return ''


WHY_NOT = _why_not()
real = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or 'torchcodec is there')


def array(frames) -> np.ndarray:
    return frames if isinstance(frames, np.ndarray) else frames.numpy()


@real
@pytest.mark.parametrize('reader_class', READERS)
@pytest.mark.parametrize('name', RECIPES)
def test_every_frame_is_right_in_any_order(name, reader_class, video):
    if name in REFUSED:
        with pytest.raises(VideoDecodeError, match=f'numbers frames wrongly here .*{REFUSED[name]}.*; use pyav'):
            reader_class(video(name), Opening())
        return
    count, refused = RECIPES[name].frames, 0
    rng = np.random.default_rng(7)
    requests = [rng.integers(0, count, 30), range(count - 1, -1, -3), [count - 1], [0], [5, 5, 3], range(1, 17, 2),
                [0, count - 1, 1, count - 2], range(count), *([number] for number in rng.permutation(count)[:40])]
    with reader_class(video(name), Opening()) as reader:
        assert len(reader) == count
        for request in requests:
            try:
                frames = reader.get(request)
            except VideoDecodeError as error:
                assert 'another frame' in str(error)
                refused += 1
            else:
                assert isinstance(frames, np.ndarray if reader_class is TorchCodecReader else torch.Tensor)
                assert read_numbers(array(frames)) == list(request)
    assert bool(refused) == (name in NOW_AND_THEN)


@real
@pytest.mark.parametrize('reader_class', READERS)
def test_frames_whose_key_frame_is_hidden_are_refused(reader_class, edit_list_video, monkeypatch):
    with pytest.raises(VideoDecodeError, match='an edit list hides the first key frame'):
        reader_class(edit_list_video, Opening())
    monkeypatch.setattr('fedvssl.video.readers.torchcodec._numbered_wrongly', lambda index: '')  # it is, indeed
    for number, refused in ((3, True), (20, False)):
        with reader_class(edit_list_video, Opening()) as reader:
            try:
                assert read_numbers(array(reader.get([number]))) == [number + 17]
            except VideoDecodeError as error:
                assert refused and 'another frame' in str(error)


@real
@pytest.mark.parametrize('reader_class', READERS)
@pytest.mark.parametrize('degrees', [90, -90, 180])
def test_the_rotation_flag_is_applied_once(degrees, reader_class, tmp_path):
    path = write_video(tmp_path / 'turned.mp4', replace(RECIPES['h264_gop12'], frames=20, rotation=degrees))
    with reader_class(path, Opening()) as reader:
        assert read_numbers(np.rot90(array(reader.get([13, 3])), -degrees // 90, axes=(1, 2))) == [13, 3]


@real
@pytest.mark.parametrize('reader_class', READERS)
def test_pixels_and_sizes_are_those_of_the_default_backend(reader_class, video):
    expected = sequential(video('h264_gop12'))
    with reader_class(video('h264_gop12'), Opening()) as reader, PyAVReader(video('h264_gop12'), Opening()) as other:
        assert np.abs(array(reader.get([33]))[0].astype(int) - expected[33]).mean() < 1
        for size in ((40, 30), (171, 128), lambda width, height: (width // 2, height)):
            got, wanted = array(reader.get(range(20), size)), other.get(range(20), size)
            assert got.shape == wanted.shape
            assert np.abs(got.astype(int) - wanted).max() <= 3


@real
def test_the_real_one_through_the_front_door(video):
    with open_video(video('h264_open_gop'), 'torchcodec') as reader:
        assert reader.backend == 'torchcodec'
        assert read_numbers(reader.get([50, 3])) == [50, 3]
    with pytest.raises(VideoDecodeError, match='no such file'):
        open_video(video('hevc').with_name('nowhere.mp4'), 'torchcodec')


@real
@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_the_real_one_without_a_gpu_is_not_the_files_fault(video):
    with pytest.raises(BackendUnavailableError, match="'torchcodec-cuda' cannot run: .*libnvcuvid"):
        TorchCodecCudaReader(video('h264_gop12'), Opening(device='cuda'))


class Decoder:
    """Stands in for torchcodec's decoder: PyAV's frames, and what a test wants to be otherwise."""

    error: Exception | None = None
    error_at_get: Exception | None = None
    fallback: tuple[str, str] = ('', '')  # before anything is decoded, and after
    missing = 0
    late = 0
    turn = 0

    def __init__(self, source, *, dimension_order, num_ffmpeg_threads, device, seek_mode) -> None:
        assert (dimension_order, num_ffmpeg_threads, seek_mode) == ('NHWC', 1, 'exact')
        if self.error is not None:
            raise self.error
        self._reader = PyAVReader(Path(source), Opening())
        self.metadata = SimpleNamespace(rotation=self.turn or None)
        self.cpu_fallback = self.fallback[0]

    def __len__(self) -> int:
        return len(self._reader) - self.missing

    def get_frames_at(self, indices):
        if self.error_at_get is not None:
            raise self.error_at_get
        self.cpu_fallback = self.fallback[1]
        index = self._reader.index
        seconds = torch.from_numpy(index.pts[np.minimum(np.array(indices) + self.late, index.frames - 1)] * index.tick)
        return SimpleNamespace(data=torch.from_numpy(self._reader.get(indices)), pts_seconds=seconds)


@pytest.fixture
def fake(monkeypatch):
    """Puts `Decoder` in torchcodec's place; keyword arguments say what is otherwise."""
    module = ModuleType('torchcodec.decoders')
    module.VideoDecoder = Decoder
    monkeypatch.setitem(sys.modules, 'torchcodec', ModuleType('torchcodec'))
    monkeypatch.setitem(sys.modules, 'torchcodec.decoders', module)

    def otherwise(**values) -> None:
        for name, value in values.items():
            monkeypatch.setattr(Decoder, name, value)

    return otherwise


@pytest.mark.parametrize('reader_class', READERS)
def test_a_request_of_many_frames_is_made_in_pieces(reader_class, fake, video, monkeypatch):
    pieces, asked = [], []
    get = Decoder.get_frames_at
    monkeypatch.setattr(Decoder, 'get_frames_at',
                        lambda self, indices: pieces.append(len(indices)) or get(self, indices))

    def size(width, height):
        asked.append((width, height))
        return width - len(asked), height

    with reader_class(video('h264_gop12'), Opening()) as reader:
        assert read_numbers(array(reader.get(range(40)))) == list(range(40))
        assert pieces == [16, 16, 8]
        assert tuple(reader.get(range(40), size).shape) == (40, 64, 127, 3)
    assert asked == [(128, 64)]


def test_frames_that_stay_on_the_device_are_resized_there(fake, video, monkeypatch):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 64, 128, 3), np.uint8))
    answer = SimpleNamespace(data=frames, pts_seconds=SimpleNamespace(numpy=lambda: np.zeros(1)))
    monkeypatch.setattr(Decoder, 'get_frames_at', lambda self, indices: answer)
    monkeypatch.setattr(torch.Tensor, 'numpy', None)
    monkeypatch.setattr(torch.Tensor, 'cpu', None)
    with TorchCodecCudaReader(video('h264_gop12'), Opening()) as reader:
        got = reader.get([0], (50, 40))
        assert reader.get([0]) is frames
    monkeypatch.undo()
    expected = cv2.resize(frames[0].numpy(), (50, 40), interpolation=cv2.INTER_LINEAR)
    assert np.abs(got[0].numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize(('otherwise', 'message'), [
    (dict(missing=1), 'counts 59 frames, the frame index 60; use pyav'),
    (dict(error=ValueError('No valid stream')), 'ValueError: No valid stream'),
    (dict(error=RuntimeError('Could not open input file: it is nonsense')), 'nonsense')])
def test_what_it_cannot_open_is_refused(otherwise, message, fake, video):
    fake(**otherwise)
    for reader_class in READERS:
        with pytest.raises(VideoDecodeError, match=message) as caught:
            reader_class(video('h264_gop12'), Opening())
        assert caught.value.backend == reader_class.backend


@pytest.mark.parametrize(('otherwise', 'message'), [
    (dict(late=1), 'another frame than number 7; use pyav'), (dict(late=-1), 'another frame than number 7'),
    (dict(turn=90), r'returns \(2, 64, 128, 3\) instead of \(2, 128, 64, 3\)'),
    (dict(error_at_get=RuntimeError('no more frames left to decode')), 'no more frames')])
def test_what_it_gets_wrong_is_refused(otherwise, message, fake, video):
    fake(**otherwise)
    for reader_class in READERS:
        with reader_class(video('h264_gop12'), Opening()) as reader, pytest.raises(VideoDecodeError, match=message):
            reader.get([9, 7])


@pytest.mark.parametrize('fallback', [('NVcuvid unavailable', ''), ('', 'Video not supported')])
def test_a_gpu_that_lets_the_cpu_decode_is_refused(fallback, fake, video):
    fake(fallback=fallback)
    with pytest.raises(VideoDecodeError, match=f'NVDEC does not decode it .{"".join(fallback)}'):
        TorchCodecCudaReader(video('h264_gop12'), Opening()).get([0])
    with TorchCodecReader(video('h264_gop12'), Opening()) as reader:
        assert read_numbers(reader.get([1])) == [1]


@pytest.mark.parametrize('error', [
    RuntimeError('Could not load libtorchcodec. Likely causes:\n 1. FFmpeg is not properly installed'),
    RuntimeError('Failed to load NPP library. NPP is required for CUDA color conversion.'),
    RuntimeError('Unsupported device: cuda:1 (device type: cuda)'), RuntimeError('CUDA error: no kernel image'),
    torch.OutOfMemoryError('CUDA out of memory')])
def test_what_no_file_is_to_blame_for(error, fake, video):
    fake(error_at_get=error)
    for reader_class in READERS:
        reader = reader_class(video('h264_gop12'), Opening())
        with pytest.raises(BackendUnavailableError, match='needs'):
            reader.get([3])
    fake(error=error)
    with pytest.raises(BackendUnavailableError) as caught:
        TorchCodecCudaReader(video('h264_gop12'), Opening())
    assert caught.value.reason.endswith(str(error).splitlines()[0])


def test_a_path_is_no_reason(fake, video, tmp_path):
    path = tmp_path / 'CUDA out of memory.mp4'
    path.write_bytes(video('h264_gop12').read_bytes())
    fake(error=RuntimeError(f'Could not open input file: {path} Invalid data'))
    with pytest.raises(VideoDecodeError, match='Invalid data'):
        TorchCodecCudaReader(path, Opening())


@pytest.mark.parametrize('error', [ImportError, OSError, RuntimeError])
def test_a_library_that_does_not_load_is_not_the_files_fault(error, video, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.partition('.')[0] == 'torchcodec':
                raise error('libnvrtc.so.13: cannot open shared object file')

    for name in [name for name in sys.modules if name.partition('.')[0] == 'torchcodec']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, 'meta_path', [Broken(), *sys.meta_path])
    with pytest.raises(BackendUnavailableError, match=f'{error.__name__}: libnvrtc') as caught:
        open_video(video('h264_gop12'), 'torchcodec')
    assert 'torchcodec==0.13.* beside a CPU build' in caught.value.remedy
