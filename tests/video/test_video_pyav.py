"""Every frame that the default backend returns is the right one, whatever the order in which it is asked for."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from watermark import RECIPES, Recipe, copy_from_key_frame, read_numbers, sequential, write_video

import fedvssl.video.readers.pyav
from fedvssl.video import VideoDecodeError, open_video

COUNTED = {'h264_in_avi', 'mpeg4_avi_b', 'vp8_webm'}
OPEN_GOP = {'h264_open_gop', 'h264_open_gop_mkv', 'hevc', 'mpeg4_mp4_b', 'mpeg2_ps'}


@pytest.mark.parametrize('name', RECIPES)
def test_every_frame_is_right_in_any_order(name, video):
    path, count = video(name), RECIPES[name].frames
    rng = np.random.default_rng(7)
    random = rng.integers(0, count, 30)
    requests = [random, np.sort(random)[::-1], range(count), range(count - 1, -1, -3), [count - 1], [0],
                [5, 5, 3, 5, 3], range(1, 17, 2), [0, count - 1, 1, count - 2]]
    with open_video(path) as reader:
        assert len(reader) == count
        assert reader.backend == 'pyav'
        for request in requests:
            frames = reader.get(request)
            assert frames.dtype == np.uint8
            assert read_numbers(frames) == list(request)
        for number in rng.permutation(count)[:40]:  # one by one: a seek for each
            assert read_numbers(reader.get([int(number)])) == [number]


@pytest.mark.parametrize('name', RECIPES)
def test_pixels_are_those_of_a_sequential_decode(name, video):
    expected = sequential(video(name))
    with open_video(video(name)) as reader:
        for number in range(0, len(reader), 7):
            assert np.array_equal(reader.get([number])[0], expected[number])
        strided = range(2, len(reader), 5)
        assert np.array_equal(reader.get(strided), np.stack([expected[number] for number in strided]))


@pytest.mark.parametrize('name', RECIPES)
def test_the_index_knows_what_it_can_rely_on(name, video):
    with open_video(video(name)) as reader:
        assert reader.index.counted == (name in COUNTED), reader.index.counted_because
        assert reader.index.open_gop == (name in OPEN_GOP)


def test_a_second_clip_is_fetched_by_seeking_not_by_decoding_on(video):
    with open_video(video('h264_gop12')) as reader:
        assert [len(run) for run in reader._runs(np.array([0, 1, 50, 51]))] == [2, 2]
        assert [len(run) for run in reader._runs(np.array([9, 11, 13, 15]))] == [4]
    with open_video(video('h264_ts')) as reader:  # where every pass begins at the start
        assert [len(run) for run in reader._runs(np.array([0, 1, 50, 51]))] == [4]


def test_frames_hidden_by_an_edit_list_do_not_count(edit_list_video):
    with open_video(edit_list_video) as reader:
        assert len(reader) == 60 - 17
        assert read_numbers(reader.get(range(42, -1, -1))) == list(range(59, 16, -1))


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_open_gop', 'h264_open_gop_mkv', 'h264_intra_refresh', 'hevc',
                                  'mpeg4_mp4_b', 'mpeg4_avi_b', 'mpeg2_ps'])
def test_streams_that_start_in_the_middle_of_another(name, video, tmp_path):
    for key in (1, 2, 3):
        path = copy_from_key_frame(video(name), tmp_path / f'from_{key}{RECIPES[name].suffix}', key)
        expected = read_numbers(sequential(path).values())
        with open_video(path) as reader:
            assert len(reader) == len(expected)
            for number in range(0, len(reader), 5):
                assert read_numbers(reader.get([number])) == [expected[number]]
            assert read_numbers(reader.get(range(len(reader)))) == expected


@pytest.mark.parametrize('degrees', [90, -90, 180])
def test_the_rotation_flag_is_applied(degrees, video, tmp_path):
    lying = RECIPES['h264_gop12']
    upright = video('h264_gop12')
    path = write_video(tmp_path / 'turned.mp4', replace(lying, frames=5, rotation=degrees))
    with open_video(path) as turned, open_video(upright) as reader:
        expected = np.rot90(reader.get([3])[0], degrees // 90)
        assert np.abs(turned.get([3])[0].astype(int) - expected).mean() < 2


def test_a_seek_that_lands_too_late_is_noticed(video, monkeypatch):
    with open_video(video('h264_gop12')) as reader:
        seek = reader._video.seek
        monkeypatch.setattr(reader._video, 'seek', lambda pts: seek(int(reader.index.key_pts[4])))
        assert reader._packets_from(4)[1] == reader.index.key_positions[4]
        packets, position, first_pts = reader._packets_from(2)
        assert (position, first_pts) == (0, None)
        assert next(packets).pts == reader.index.key_pts[0]
        assert read_numbers(reader.get([30])) == [30]


@pytest.mark.parametrize(('name', 'extra'), [
    ('h264_gop12', 0), ('h264_all_intra', 0), ('h264_mkv', 0), ('hevc', 0), ('mpeg4_mp4_b', 0), ('vp9_webm', 0),
    ('h264_open_gop', 12)])  # at one key frame, the stream gives up a reference that was stored before it
def test_one_pass_is_enough(name, extra, video, monkeypatch):
    with open_video(video(name)) as reader:
        passes = []
        original = reader._pass
        monkeypatch.setattr(reader, '_pass', lambda *arguments: passes.append(arguments[0]) or original(*arguments))
        for number in range(len(reader)):
            reader.get([number])
        assert len(passes) <= len(reader) + extra
        assert fedvssl.video.readers.pyav._FROM_THE_START not in passes


def test_frames_that_do_not_turn_up_are_fetched_from_further_ahead(video, monkeypatch):
    """From an earlier key frame, and at last from the start."""
    expected = sequential(video('h264_gop12'))
    with open_video(video('h264_gop12')) as reader:
        attempts = []
        original = reader._pass

        def lose_all_but_the_last(key, pending, stack):
            attempts.append(key)
            return original(key, pending, stack) if key == fedvssl.video.readers.pyav._FROM_THE_START else set()

        monkeypatch.setattr(reader, '_pass', lose_all_but_the_last)
        assert np.array_equal(reader.get([30])[0], expected[30])
        assert attempts == [2, 1, fedvssl.video.readers.pyav._FROM_THE_START]


def test_a_frame_that_never_turns_up_is_an_error(video):
    with open_video(video('h264_gop12')) as reader:
        pts = reader.index.pts.copy()
        pts[30] += 1  # a timestamp that no frame has
        reader.index = replace(reader.index, pts=pts)
        with pytest.raises(VideoDecodeError, match='frame 30 of 60 did not come out'):
            reader.get([29, 30, 31])
        assert read_numbers(reader.get([29, 31])) == [29, 31]


def test_a_count_that_is_too_high_is_an_error(video):
    with open_video(video('mpeg4_avi_b')) as reader:
        reader.index = replace(reader.index, frames=61)
        with pytest.raises(VideoDecodeError, match='frame 60 of 61'):
            reader.get([60])


def test_files_and_threads_are_given_back(video):
    path: Path = video('h264_gop12')

    def held() -> tuple[int, int]:
        return len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))  # noqa: PTH208

    with open_video(path) as reader:
        reader.get([40])
    before = held()
    for _ in range(50):
        with open_video(path) as reader:
            reader.get([3, 40])
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def test_watermarks_tell_frames_apart(tmp_path):
    """The subject of the other tests: a video of the same picture throughout would not pass for numbered frames."""
    path = write_video(tmp_path / 'two.mp4', Recipe('.mp4', 'mpeg4', frames=2))
    with open_video(path) as reader:
        assert read_numbers(reader.get([1, 0])) == [1, 0]
    assert read_numbers(np.full((1, 64, 128, 3), 128, np.uint8)) == [-1]


@pytest.mark.parametrize('name', ['mpeg4_mp4_b', 'h264_gop12', 'hevc'])
def test_key_frames_that_are_none(name, video, tmp_path):
    """Without the table of key frames, MP4 calls every frame one. Some writers leave it out."""
    path = tmp_path / 'liar.mp4'
    path.write_bytes(video(name).read_bytes().replace(b'stss', b'free'))
    with open_video(path) as reader:
        for request in (range(0, 12, 2), [20], [5, 6, 7], range(0, 60, 8), [59]):
            assert read_numbers(reader.get(request)) == list(request)


@pytest.mark.parametrize(('degrees', 'hflip', 'vflip'), [(0, True, False), (0, False, True), (90, True, False)])
def test_mirrored_pictures_are_refused(degrees, hflip, vflip, tmp_path):
    recipe = replace(RECIPES['h264_gop12'], frames=5, mirror=(degrees, hflip, vflip))
    path = write_video(tmp_path / 'mirrored.mp4', recipe)
    with open_video(path) as reader, pytest.raises(VideoDecodeError, match='mirrors the picture'):
        reader.get([3])
