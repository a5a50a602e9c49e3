"""A backend that returns wrong frames is found out on the first file of a kind, and put out for that kind."""

import threading

import cv2
import numpy as np
import pytest
import torch
from watermark import RECIPES, Recipe, damage, draw, read_numbers, write_video

from fedvssl.video import VideoDecodeError, backends, open_video, selftest
from fedvssl.video.readers.pyav import PyAVReader
from fedvssl.video.selftest import SelfTest, Verdict, compare, examine


class Late(PyAVReader):
    """Returns the frame after the one that was asked for, but the first few rightly."""

    backend = 'opencv'
    shift = 1

    def _decode(self, wanted, size):
        numbers = np.where(wanted < 10, wanted, np.minimum(wanted + self.shift, len(self) - 1))
        return super()._decode(numbers, size)


class Leading(PyAVReader):
    """Returns later frames around key frames only, as decord does in open groups of pictures."""

    backend = 'opencv'

    def _decode(self, wanted, size):
        keys = np.searchsorted(self.index.pts, self.index.key_pts)[1:, None]
        near = ((keys - 3 <= wanted) & (wanted <= keys + 1)).any(0)
        return super()._decode(wanted + 3 * near, size) if len(wanted) < 3 else super()._decode(wanted, size)


class Tinted(PyAVReader):
    """Returns the right frames with the colours of another standard, on a device of its own."""

    backend = 'opencv'

    def _decode(self, wanted, size):
        frames = super()._decode(wanted, size).astype(np.float32)
        frames = 16 + frames @ np.array([[.8, .1, 0], [.1, .7, .05], [0, .1, .75]], np.float32)
        return torch.from_numpy(frames.astype(np.uint8))


@pytest.fixture
def fake(monkeypatch):
    """Puts a class in the place of the opencv backend, in a process that knows nothing yet."""
    monkeypatch.setattr(backends, '_self_test', SelfTest())

    def install(reader_class: type) -> None:
        monkeypatch.setattr('fedvssl.video.readers.opencv.OpenCVReader', reader_class)

    return install


def drawn(*numbers):
    return np.stack([draw(number) for number in numbers])


def recoloured(frame):
    return (frame @ np.array([[.8, .1, 0], [.1, .7, .05], [0, .1, .75]]) + 16).astype(np.uint8)


def noisy(frame):
    return np.clip(frame + np.random.default_rng(0).normal(0, 6, frame.shape), 0, 255).astype(np.uint8)


def blurred(frame):
    return cv2.blur(frame, (3, 3))


@pytest.mark.parametrize('change', [
    np.copy, recoloured, noisy, blurred, lambda frame: noisy(blurred(recoloured(frame))),
    lambda frame: frame // 2, lambda frame: 255 - (255 - frame) // 2])
def test_colours_and_noise_are_no_other_frame(change):
    for middle in (1, 6, 40):
        expected = drawn(middle - 1, middle, middle + 1)
        assert compare(change(draw(middle)), expected) is Verdict.RIGHT
        for other in (middle - 1, middle + 1, middle + 2, middle + 3, middle + 12):
            assert compare(change(draw(other)), expected) is Verdict.WRONG, other


def test_a_frame_turned_or_of_another_size_is_wrong():
    assert compare(draw(5)[::-1, ::-1], drawn(4, 5, 6)) is Verdict.WRONG
    assert compare(draw(5)[:, :-2], drawn(4, 5, 6)) is Verdict.WRONG
    assert compare(np.zeros_like(draw(5)), drawn(4, 5, 6)) is Verdict.WRONG


def test_where_nothing_moves_nothing_can_be_told():
    still = np.stack([noisy(draw(5)), draw(5), draw(5)])
    assert compare(draw(5), still) is Verdict.UNKNOWN
    assert compare(draw(900), still) is Verdict.WRONG  # that much can
    flat = np.full((3, 64, 128, 3), 16, np.uint8)
    assert compare(flat[0], flat) is Verdict.UNKNOWN
    assert compare(draw(3), flat) is Verdict.UNKNOWN


@pytest.mark.parametrize('shift', [1, -1, 2, 3])
@pytest.mark.parametrize('name', ['h264_gop12', 'h264_open_gop', 'mpeg4_avi_b', 'vp9_webm'])
def test_a_shift_behind_a_seek_is_noticed(name, shift, video, fake, monkeypatch):
    fake(Late)
    monkeypatch.setattr(Late, 'shift', shift)
    with pytest.raises(VideoDecodeError, match='returns other frames than the frame index says.*use pyav') as caught:
        open_video(video(name), 'opencv')
    assert caught.value.backend == 'opencv'


@pytest.mark.parametrize('name', ['h264_open_gop', 'hevc'])
def test_frames_that_are_lost_around_key_frames_are_noticed(name, video, fake):
    fake(Leading)
    with pytest.raises(VideoDecodeError, match='returns other frames'):
        open_video(video(name), 'opencv')


def test_the_backend_is_out_for_this_kind_of_file_only(video, fake, monkeypatch):
    fake(Late)
    with pytest.raises(VideoDecodeError, match='h264 in mov,mp4'):
        open_video(video('h264_gop12'), 'opencv')
    monkeypatch.setattr(Late, 'shift', 0)  # too late
    monkeypatch.setattr(selftest, 'examine', None)  # and not looked at again
    with pytest.raises(VideoDecodeError, match='other frames'):
        open_video(video('h264_no_b'), 'opencv')
    monkeypatch.setattr(selftest, 'examine', examine)
    for name in ('h264_open_gop', 'h264_mkv', 'mpeg4_avi'):  # other kinds
        open_video(video(name), 'opencv').close()


def test_right_frames_in_other_colours_pass_and_are_tested_once(video, fake, monkeypatch):
    fake(Tinted)
    examined = []
    monkeypatch.setattr(selftest, 'examine', lambda *arguments: examined.append(1) or examine(*arguments))
    for name in ('h264_gop12', 'h264_no_b', 'h264_gop250'):
        with open_video(video(name), 'opencv') as reader:
            assert isinstance(reader.get([3]), torch.Tensor)
    assert len(examined) == 1
    open_video(video('hevc'), 'opencv').close()
    assert len(examined) == 2


def test_a_still_picture_passes_and_the_next_file_is_tested(video, fake, tmp_path, monkeypatch):
    monkeypatch.setattr('watermark.draw', lambda number: draw(7))
    still = write_video(tmp_path / 'still.mp4', RECIPES['h264_gop12'])
    fake(Late)
    for _ in range(2):
        with open_video(still, 'opencv') as reader:
            assert read_numbers(reader.get([30])) == [7]
    with pytest.raises(VideoDecodeError, match='other frames'):
        open_video(video('h264_gop12'), 'opencv')
    with pytest.raises(VideoDecodeError, match='other frames'):
        open_video(still, 'opencv')


def test_short_videos_and_damaged_ones_tell_nothing(video, fake, tmp_path):
    fake(Late)
    two = write_video(tmp_path / 'two.mp4', Recipe('.mp4', 'mpeg4', frames=2))
    three = write_video(tmp_path / 'three.mp4', Recipe('.mp4', 'mpeg4', frames=3))
    for path in (two, three):
        open_video(path, 'opencv').close()
    damage(video('h264_gop12'), tmp_path / 'bad.mp4', 30, 50)
    with pytest.raises(VideoDecodeError) as caught:  # this reader cannot read it either
        open_video(tmp_path / 'bad.mp4', 'opencv')
    assert 'other frames' not in str(caught.value)
    assert not [kind for kind in backends._self_test._found if kind[2] == 'h264']


def test_three_frames_are_enough(tmp_path):
    path = write_video(tmp_path / 'three.mp4', Recipe('.mp4', 'mpeg4', frames=3, options={'qmin': '2', 'qmax': '3'}))
    with PyAVReader(path, selftest.Opening()) as reader:
        assert examine(reader, reader.index) is Verdict.RIGHT


def test_what_cannot_be_compared_is_no_verdict(video, monkeypatch):
    with PyAVReader(video('h264_gop12'), selftest.Opening()) as reader:
        returned = reader.get([40])
        monkeypatch.setattr(reader, 'get', lambda indices: returned)
        monkeypatch.setattr(PyAVReader, '_decode', None)
        assert examine(reader, reader.index) is Verdict.UNKNOWN


def test_a_reader_that_fails_is_closed(video, fake, monkeypatch):
    closed = []
    fake(Late)
    monkeypatch.setattr(Late, '_close', lambda self: closed.append(1))
    with pytest.raises(VideoDecodeError):
        open_video(video('h264_gop12'), 'opencv')
    assert closed


def test_threads_that_test_at_the_same_time_agree(video, fake):
    fake(Late)
    barrier, errors = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        for _ in range(3):
            try:
                open_video(video('h264_gop12'), 'opencv').close()
            except VideoDecodeError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 12


def test_the_exact_backends_are_not_tested(video, monkeypatch):
    monkeypatch.setattr(backends, '_self_test', None)
    with open_video(video('h264_gop12'), 'pyav') as reader:
        assert read_numbers(reader.get([4])) == [4]


def test_opencv_passes(video):
    test = SelfTest()
    from fedvssl.video.reader import Opening
    from fedvssl.video.readers.opencv import OpenCVReader

    for name in RECIPES:
        with OpenCVReader(video(name), Opening()) as reader:
            test.check(reader)
    assert set(test._found.values()) == {Verdict.RIGHT}
    assert len(test._found) >= 12
