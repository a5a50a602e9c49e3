"""OpenCV under our frame index: every frame is the right one, or refused."""

import os
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from watermark import HEIGHT, RECIPES, WIDTH, copy_from_key_frame, draw, read_numbers, sequential, write_video

from fedvssl.video import BackendUnavailableError, VideoDecodeError, open_video
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import index_of
from fedvssl.video.reader import Opening
from fedvssl.video.readers.opencv import OpenCVReader

# OpenCV tells no time for the last frame of an MPEG program stream.
UNTOLD = {'mpeg2_ps': {59}}


@pytest.fixture
def opened(video):
    """Opens a video of `RECIPES`; closed afterwards."""
    readers = []

    def make(name: str) -> OpenCVReader:
        readers.append(OpenCVReader(video(name), Opening()))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.mark.parametrize('name', RECIPES)
def test_every_frame_is_right_in_any_order(name, video):
    count, untold = RECIPES[name].frames, UNTOLD.get(name, set())
    rng = np.random.default_rng(7)
    random = rng.integers(0, count, 30)
    requests = [random, range(count - 1, -1, -3), [count - 1], [0], [5, 5, 3, 5, 3], range(1, 17, 2),
                [0, count - 1, 1, count - 2], range(count), *([number] for number in rng.permutation(count)[:40])]
    with open_video(video(name), 'opencv') as reader:
        assert len(reader) == count
        assert reader.backend == 'opencv'
        for request in requests:
            if untold & set(request):
                with pytest.raises(VideoDecodeError, match='did not come out of OpenCV; use pyav'):
                    reader.get(request)
            else:
                assert read_numbers(reader.get(request)) == list(request)


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_open_gop', 'h264_intra_refresh', 'hevc', 'mpeg4_mp4_b'])
def test_pixels_are_those_of_a_sequential_decode(name, video, opened):
    """Also behind a seek: no frame is made of references that are not there."""
    expected, reader = sequential(video(name)), opened(name)
    for number in np.random.default_rng(1).permutation(len(reader))[:25].tolist():
        assert np.abs(reader.get([number])[0].astype(int) - expected[number]).mean() < 1


def test_frames_hidden_by_an_edit_list_do_not_count(edit_list_video):
    with open_video(edit_list_video, 'opencv') as reader:
        assert len(reader) == 60 - 17
        for request in (range(42, -1, -1), *([number] for number in range(0, 43, 5))):
            assert read_numbers(reader.get(request)) == [number + 17 for number in request]


@pytest.mark.parametrize('degrees', [90, -90, 180])
def test_the_rotation_flag_is_applied_once(degrees, tmp_path):
    path = write_video(tmp_path / 'turned.mp4', replace(RECIPES['h264_gop12'], frames=20, rotation=degrees))
    with open_video(path, 'opencv') as reader:
        frames = np.rot90(reader.get([13, 3]), -degrees // 90, axes=(1, 2))
    assert read_numbers(frames) == [13, 3]


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_open_gop', 'h264_intra_refresh', 'hevc', 'mpeg4_avi_b'])
def test_streams_that_start_in_the_middle_of_another(name, video, tmp_path):
    for key in (1, 3):
        path = copy_from_key_frame(video(name), tmp_path / f'from_{key}{RECIPES[name].suffix}', key)
        expected = read_numbers(sequential(path).values())
        with open_video(path, 'opencv') as reader:
            assert len(reader) == len(expected)
            for number in range(len(reader) - 1, -1, -5):
                assert read_numbers(reader.get([number])) == [expected[number]]


def test_frames_are_resized_as_by_the_default_backend(video, opened):
    with open_video(video('h264_gop12')) as other:
        expected = other.get([7, 30], (40, 30))
    assert np.abs(opened('h264_gop12').get([7, 30], (40, 30)).astype(int) - expected).mean() < 1


def test_another_stream_of_the_same_size_is_refused(tmp_path):
    """OpenCV takes the first one, the index the best one."""
    path = tmp_path / 'two.mp4'
    with av.open(str(path), 'w') as container:
        streams = [container.add_stream('mpeg4', rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, 'yuv420p'
        streams[1].disposition = av.stream.Disposition.default
        for number in range(5):
            for stream, picture in zip(streams, (np.full((HEIGHT, WIDTH, 3), 99, np.uint8), draw(number)), strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    with open_video(path) as reader:
        assert read_numbers(reader.get([3])) == [3]
    with pytest.raises(VideoDecodeError, match='first of several video streams'):
        open_video(path, 'opencv')


class _Capture:
    """A capture with something of its own; everything else is a real one's."""

    def __init__(self, capture, **own) -> None:
        self._capture, self._own = capture, own

    def __getattr__(self, name):
        return self._own.get(name) or getattr(self._capture, name)


def test_a_seek_that_lands_too_late_is_noticed(opened):
    reader = opened('h264_gop250')
    real, goals = reader._capture, []

    def too_far(key, value):
        goals.append(value)
        return real.set(cv2.CAP_PROP_POS_MSEC, value + 2000)

    reader._capture = _Capture(real, set=too_far)
    reader.get([0])
    assert read_numbers(reader.get([100])) == [100]
    assert not goals  # decoding on is nearer than the one key frame of this file
    reader = opened('h264_gop12')
    real = reader._capture
    reader._capture = _Capture(real, set=lambda key, value: goals.append(value) or real.set(key, value + 1000))
    assert read_numbers(reader.get([25])) == [25]
    assert len(goals) == 1
    assert not isinstance(reader._capture, _Capture)  # it was opened again, to begin at the start


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_vfr', 'h264_mkv', 'hevc'])
def test_clips_are_fetched_by_seeking(name, opened):
    reader = opened(name)
    grabs, real = [], reader._capture
    reader._capture = _Capture(real, grab=lambda: grabs.append(1) or real.grab())
    for request in ([50, 51], [30], [55], [40], [20], [44], [58]):
        assert read_numbers(reader.get(request)) == request
    assert isinstance(reader._capture, _Capture)  # never opened again
    assert len(grabs) < 60


def test_frames_that_opencv_shifts_or_loses_are_refused(opened):
    reader = opened('h264_gop12')
    reader._times = reader._times + 0.02  # half a frame: no time is that of a frame
    with pytest.raises(VideoDecodeError, match='frame 30 of 60 did not come out'):
        reader.get([30])
    reader = opened('mpeg4_avi_b')
    reader.index = replace(reader.index, frames=61)
    with pytest.raises(VideoDecodeError, match='frame 60 of 61'):
        reader.get([60])
    assert read_numbers(reader.get([59])) == [59]


def test_frames_of_another_size_are_refused(opened):
    reader = opened('h264_gop12')
    reader.index = replace(reader.index, width=reader.index.width * 2)
    with pytest.raises(VideoDecodeError, match='instead of .64, 256, 3'):
        reader.get([0])


@pytest.mark.parametrize('tick', [0.0, -1.0, float('inf'), float('nan')])
def test_a_kept_index_without_a_tick_is_refused(tick, video):
    index = index_of(video('h264_ts'))
    assert (index.tick, index.start, index.stream) == (1 / 90000, index.pts[0], 0)
    with pytest.raises(ValueError, match='tick'):
        FrameIndex.from_bytes(replace(index, tick=tick).to_bytes())


def test_opencv_without_ffmpeg_is_not_the_files_fault(video, monkeypatch):
    monkeypatch.setattr(cv2.videoio_registry, 'hasBackend', lambda _: False)
    with pytest.raises(BackendUnavailableError, match='without FFmpeg'):
        open_video(video('h264_gop12'), 'opencv')


def test_no_name_is_an_image_sequence_or_a_url(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('clip_%03d.mp4', 'http:clip.mp4', 'concat:a|b.mp4', 'ä b.mp4'):
        (tmp_path / name).write_bytes(video('h264_gop12').read_bytes())
        with open_video(name, 'opencv') as reader:
            assert read_numbers(reader.get([7])) == [7]


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_ts', 'mpeg4_avi_b', 'vp9_webm'])
def test_mutated_files_raise_nothing_else(name, video, tmp_path):
    source, rng = video(name).read_bytes(), np.random.default_rng(13)
    path = tmp_path / f'mutated{RECIPES[name].suffix}'
    for _ in range(12):
        data = bytearray(source)
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            with open_video(path, 'opencv') as reader:
                assert reader.get([len(reader) - 1, 0]).shape == (2, 64, 128, 3)
        except VideoDecodeError as error:
            assert error.backend == 'opencv'


def test_files_and_threads_are_given_back(video):
    def held() -> tuple[int, int]:
        return len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))  # noqa: PTH208

    for round_ in range(20):
        with open_video(video('h264_gop12'), 'opencv') as reader:
            reader.get([3, 40])
        if round_ == 0:
            before = held()
    # What other tests left behind may go meanwhile.
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def test_real_files_have_the_default_backends_pixels(real_videos):
    refused = set()
    for path in sorted(path for path in (real_videos / 'singles').iterdir() if path.suffix != '.csv'):
        try:
            with open_video(path, 'opencv') as reader, open_video(path) as other:
                numbers = np.random.default_rng(5).permutation(len(other))[:3]
                assert len(reader) == len(other)
                assert np.abs(reader.get(numbers).astype(int) - other.get(numbers)).mean() < 3, path.name
        except VideoDecodeError:
            refused.add(path.name)
    assert refused <= {'av1_video.mkv', 'nasa_13013.mp4'}  # no decoder; the second of its streams


def test_broken_files_give_frames_or_our_error(real_videos):
    for path in sorted((real_videos / 'broken').iterdir()):
        try:
            with open_video(path, 'opencv') as reader:
                numbers = np.unique(np.linspace(0, len(reader) - 1, 8).astype(int))
                assert len(reader.get(numbers)) == len(numbers)
        except VideoDecodeError as error:
            assert (error.path, error.backend) == (str(path), 'opencv')
