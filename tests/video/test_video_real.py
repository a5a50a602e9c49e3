"""Real files with quirks and real broken files; ``FEDVSSL_DATA`` says where they are."""

import time

import numpy as np
import pytest
from watermark import sequential

from fedvssl.video import VideoDecodeError, open_video
from fedvssl.video.processes.child import ChildGoneError, ChildProcess

NO_VIDEO = {'audio_only.mp4', 'empty.mp4', 'header_only_32.mp4', 'random_bytes.mp4', 'text_renamed.mp4'}


def test_singles_are_exact(real_videos):
    paths = sorted(path for path in (real_videos / 'singles').iterdir() if path.suffix != '.csv')
    assert len(paths) >= 18
    for path in paths:
        with open_video(path) as reader:
            numbers = np.random.default_rng(5).permutation(len(reader))[:5].tolist()
            expected = sequential(path, numbers)
            assert len(reader) == len(expected), path.name
            for number, frame in zip(numbers, reader.get(numbers), strict=True):
                assert np.array_equal(frame, expected[number]), (path.name, number)


def test_broken_files_give_frames_or_our_error(real_videos):
    refused = set()
    for path in sorted((real_videos / 'broken').iterdir()):
        start = time.monotonic()
        try:
            with open_video(path) as reader:
                numbers = np.unique(np.linspace(0, len(reader) - 1, 16).astype(int))
                frames = reader.get(numbers)
                assert frames.dtype == np.uint8
                assert frames.shape[0] == len(numbers)
                assert frames.shape[3] == 3
        except VideoDecodeError as error:
            refused.add(path.name)
            assert str(path) in str(error)
        assert time.monotonic() - start < 30
    assert refused >= NO_VIDEO | {'zeroed_middle.mp4'}
    assert 'edit_list_deadlocks_decord.mp4' not in refused


def test_truncation_leaves_the_frames_before_it_exact(real_videos):
    """The same clip is there whole."""
    with open_video(real_videos / 'broken/truncated50_moov_first.mp4') as cut, \
            open_video(real_videos / 'singles/mmaction2_part_0.mp4') as whole:
        assert 10 < len(cut) < len(whole)
        numbers = range(len(cut))
        assert np.array_equal(cut.get(numbers), whole.get(numbers))


def test_decord_gives_the_same_pixels(real_videos):
    pytest.importorskip('decord', reason='decord is not installed')
    for name in ('mmaction2_demo.mp4', 'v_ApplyEyeMakeup_g01_c01.avi', 'decord_rot90.mov', 'nasa_13013.mp4'):
        path = real_videos / 'singles' / name
        with open_video(path, 'decord') as other, open_video(path) as reader:
            numbers = np.linspace(0, len(reader) - 1, 3).astype(int)
            assert np.array_equal(other.get(numbers), reader.get(numbers)), name


def test_decord_may_hang(real_videos):
    """The reader refuses the file; a child that is asked all the same hangs, is killed, and the next file works."""
    pytest.importorskip('decord', reason='decord is not installed')
    path = real_videos / 'broken/edit_list_deadlocks_decord.mp4'
    start = time.monotonic()
    with pytest.raises(VideoDecodeError, match='decord counts 300 frames, the frame index 165'):
        open_video(path, 'decord')
    child = ChildProcess('fedvssl.video.readers.decord_child')
    child.request({'path': str(path), 'indices': [], 'from_start': False}, 20, 0)
    start = time.monotonic()
    with pytest.raises(ChildGoneError, match='no answer within 1.5 s; the decoder was killed'):
        indices = np.linspace(0, 299, 16).astype(int).tolist()
        child.request({'path': str(path), 'indices': indices, 'from_start': False}, 1.5, 10 ** 8)
    assert time.monotonic() - start < 15  # far from for ever, even on a busy machine
    good = str(real_videos / 'singles/mmaction2_part_0.mp4')
    header, pixels = child.request({'path': good, 'indices': [0, 5], 'from_start': False}, 20, 10 ** 8)
    child.close()
    assert header['shape'] == [2, 256, 340, 3]
    assert pixels.any()
