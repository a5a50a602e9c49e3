"""Clips read in processes: the same pixels; a sample that hangs or kills costs itself, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from fedvssl.config import DecodeConfig, from_dict
from fedvssl.data.clip_pool import ClipPool
from fedvssl.data.clips import ClipReader
from fedvssl.data.dataset import ClipDataset, build_dataset, read_videos
from fedvssl.data.loader import ClipLoader
from fedvssl.data.sampling import ClipPlan, RandomClipSampler
from fedvssl.data.transforms import FastResizeCrop, RandomCrop, RandomResize, Resize
from fedvssl.errors import ConfigError, DataListError
from fedvssl.video import VideoDecodeError
from fedvssl.video.errors import DecoderLostError
from tests.conftest import tiny_values

VIDEO = 'train/00003.avi'


class OnlyIf:
    """Does something to the process when a file says so; otherwise passes frames on."""

    def __init__(self, file):
        self.file = file

    def __call__(self, frames, random):
        if self.file.exists():
            self.harm()
        return frames


class Hang(OnlyIf):
    def harm(self):
        time.sleep(600)


class Die(OnlyIf):
    def harm(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Fail(OnlyIf):
    def harm(self):
        raise KeyError('a mistake of mine')


class TellPid:
    """Puts the process id into the pixels."""

    def __call__(self, frames, random):
        frames = frames.copy()
        frames.reshape(len(frames), -1)[:, :4] = np.frombuffer(os.getpid().to_bytes(4, 'little'), np.uint8)
        return frames


def reader_of(root, *transforms, **decode):
    return ClipReader(root, RandomClipSampler(4), transforms, DecodeConfig(index=None, **decode))


def pid_of(clips):
    return int.from_bytes(clips.reshape(-1)[:4].tobytes(), 'little')


@pytest.fixture
def pool_of(tiny_videos):
    """Returns a pool that is closed after the test."""
    pools = []

    def make(*transforms, timeout=60.0):
        pools.append(ClipPool(reader_of(tiny_videos, *transforms), timeout))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_processes_change_nothing(tiny_videos):
    data = from_dict(tiny_values(tiny_videos)).data
    videos = read_videos(data, 'train')
    loaders = []
    for workers in (0, 2):
        dataset = build_dataset(replace(data, workers=workers), data.train, videos, replace_bad=True)
        loaders.append(ClipLoader(dataset, 4, workers))
    for name in ('one client', 'another'):
        batches = [list(loader.shuffled(np.arange(2, 12), 7, name)) for loader in loaders]
        assert len(batches[0]) == 3
        for here, there in zip(*batches, strict=True):
            assert there['inputs'].equal(here['inputs'])
            assert all(there['data_samples'][key].equal(here['data_samples'][key]) for key in ('target', 'seed'))
    for loader in loaders:
        loader.close()


def test_a_process_serves_every_client_in_turn(pool_of):
    pool = pool_of(TellPid())
    pids = {pid_of(pool.read(VIDEO, stream).pixels) for stream in range(5)}
    assert len(pids) == 1 and os.getpid() not in pids
    pool.close()
    assert not os.path.exists(f'/proc/{pids.pop()}')  # noqa: PTH110
    with pytest.raises(RuntimeError, match='closed'):
        pool.read(VIDEO, 5)


def test_closing_does_not_wait_for_a_sample_that_hangs(tiny_videos, tmp_path, caplog):
    data = from_dict(tiny_values(tiny_videos)).data
    (tmp_path / 'now').touch()
    pool = ClipPool(reader_of(tiny_videos, Hang(tmp_path / 'now')), 60)
    loader = ClipLoader(ClipDataset(read_videos(data, 'train'), reader_of(tiny_videos), clips=pool), 2, workers=2)
    batches = loader.shuffled(np.arange(4), 7, 'x')
    ended = []

    def wait():
        with pytest.raises(RuntimeError, match='closed'):
            next(batches)
        ended.append(True)

    waiting = Thread(target=wait)
    waiting.start()
    deadline = time.monotonic() + 60
    while not (len(pool._busy) == 2 and all(child.pid for child in pool._busy)) and time.monotonic() < deadline:
        time.sleep(0.05)
    begun = time.monotonic()
    loader.close()
    assert time.monotonic() - begun < 10
    waiting.join(10)
    assert ended and not caplog.text


@pytest.mark.parametrize(('harm', 'reason'), [(Hang, 'no answer within 1 s'), (Die, 'SIGSEGV')])
def test_what_a_sample_does_to_its_process(harm, reason, pool_of, tmp_path):
    pool = pool_of(TellPid(), harm(tmp_path / 'now'), timeout=1.0)
    before = pool.read(VIDEO, 5).pixels
    (tmp_path / 'now').touch()
    begun = time.monotonic()
    with pytest.raises(DecoderLostError, match=reason) as caught:
        pool.read(VIDEO, 5)
    assert time.monotonic() - begun < 10
    assert caught.value.path.endswith(VIDEO)
    assert not os.path.exists(f'/proc/{pid_of(before)}')  # noqa: PTH110
    (tmp_path / 'now').unlink()
    after = pool.read(VIDEO, 5).pixels
    assert pid_of(after) != pid_of(before)


def test_a_lost_video_is_replaced_and_counted_apart(tiny_videos, pool_of, tmp_path):
    (tmp_path / 'broken.avi').write_bytes(b'nothing')
    pool = pool_of(Hang(tmp_path / 'now'), timeout=1.0)
    videos = read_videos(from_dict(tiny_values(tiny_videos)).data, 'train')
    dataset = ClipDataset(videos, reader_of(tiny_videos), clips=pool)
    (tmp_path / 'now').touch()
    assert dataset._try(3, 7) is None
    (tmp_path / 'now').unlink()
    assert dataset.load(3, 7, among=np.array([3, 5]))['inputs'].shape[:2] == (1, 4)
    assert dataset.lost == set(dataset.bad) == {VIDEO}
    videos[4] = replace(videos[4], path='train/none.avi')
    dataset = ClipDataset(videos, reader_of(tiny_videos), clips=pool)
    dataset.load(4, 7)
    assert list(dataset.bad) == ['train/none.avi'] and not dataset.lost


@pytest.mark.parametrize(('video', 'transforms', 'error', 'words'), [
    (VIDEO, [RandomCrop(5000)], ConfigError, 'does not fit'),
    ('../x.avi', [], DataListError, r'\.\.'),
    ('train/none.avi', [], VideoDecodeError, 'no such file'),
])
def test_errors_are_those_of_the_reader(video, transforms, error, words, pool_of, tiny_videos):
    for source in (reader_of(tiny_videos, *transforms), pool_of(*transforms)):
        with pytest.raises(error, match=words) as caught:
            source.read(video, 5)
        assert type(caught.value) is error


def test_a_mistake_in_a_transform_is_shown_with_its_place(pool_of, tmp_path):
    (tmp_path / 'now').touch()
    with pytest.raises(RuntimeError, match=r"(?s)test_clip_pool\.py.*a mistake of mine"):
        pool_of(Fail(tmp_path / 'now')).read(VIDEO, 5)


def test_what_cannot_be_sent_to_a_process(pool_of, tmp_path):
    class Local:
        pass

    with pytest.raises(ConfigError, match=r'data.workers: .* data.workers=0'):
        pool_of(Local())


def test_a_class_that_the_process_does_not_find(tiny_videos):
    code = ('import sys; from pathlib import Path; from fedvssl.config import DecodeConfig\n'
            'from fedvssl.data.clips import ClipReader; from fedvssl.data.clip_pool import ClipPool\n'
            'from fedvssl.data.sampling import RandomClipSampler\n'
            'class Mine:\n'
            '    def __call__(self, frames, random): return frames\n'
            'pool = ClipPool(ClipReader(Path(sys.argv[1]), RandomClipSampler(4), [Mine()], DecodeConfig()), 60)\n'
            'pool.read(sys.argv[2], 5)')
    done = subprocess.run([sys.executable, '-c', code, str(tiny_videos), VIDEO], capture_output=True, text=True,
                          check=False, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert "ConfigError: data.workers: the sampler or a transform cannot be sent to a process" in done.stderr
    assert "Mine" in done.stderr


def test_the_processes_import_no_torch():
    code = 'import sys, fedvssl.data.clip_child; sys.exit("torch" if "torch" in sys.modules else None)'
    done = subprocess.run([sys.executable, '-c', code], check=False,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert done.returncode == 0


@pytest.mark.parametrize('first', [Resize((24, 18)), Resize(16), RandomResize([14, 16, 20]),
                                   FastResizeCrop([16, 20], 14)])
def test_frames_are_cut_and_resized_as_they_are_decoded(first, tiny_videos, monkeypatch):
    """What comes first is left to the reader, with the same pixels and draws."""
    reader = reader_of(tiny_videos, first, RandomCrop(12))
    at_once = [reader.read(VIDEO, stream).pixels for stream in range(5)]
    monkeypatch.setattr('fedvssl.data.clips.Windowed', type(None))
    for stream, pixels in enumerate(at_once):
        np.testing.assert_array_equal(pixels, reader.read(VIDEO, stream).pixels)


class Crooked(Resize):
    """A resize with a mistake in it, where the reader asks for it."""

    def window(self, width, height, random):
        return width // 0, height


class Counting(RandomClipSampler):
    """A sampler whose target is a number of numpy's, as its generators make them."""

    def __call__(self, num_frames, random):
        return ClipPlan(super().__call__(num_frames, random).indices, random.integers(5))


def test_a_mistake_in_a_resize_is_no_fault_of_the_video(tiny_videos, pool_of):
    with pytest.raises(ZeroDivisionError):
        reader_of(tiny_videos, Crooked(16)).read(VIDEO, 5)
    with pytest.raises(RuntimeError, match=r'(?s)test_clip_pool\.py.*ZeroDivisionError'):
        pool_of(Crooked(16)).read(VIDEO, 5)


def test_targets_are_plain_numbers(tiny_videos):
    reader = ClipReader(tiny_videos, Counting(4), [], DecodeConfig(index=None))
    pool = ClipPool(reader, 60)
    assert [pool.read(VIDEO, stream).target for stream in range(5)] == [
        reader.read(VIDEO, stream).target for stream in range(5)]
    pool.close()


def test_a_crop_that_does_not_fit_is_no_fault_of_the_video(tiny_videos):
    with pytest.raises(ConfigError, match='FastResizeCrop: size 30 does not fit'):
        reader_of(tiny_videos, FastResizeCrop([16], 30)).read(VIDEO, 5)


def test_the_index_of_a_set_is_kept_beside_it(tiny_videos, tmp_path):
    data = from_dict(tiny_values(tiny_videos)).data
    data = replace(data, decode=DecodeConfig(index=str(tmp_path / 'kept.sqlite')))
    dataset = build_dataset(data, data.train, read_videos(data, 'train'), True)
    first = dataset.load(3, 7)['inputs']
    assert (tmp_path / 'kept.sqlite').stat().st_size > 0
    np.testing.assert_array_equal(dataset.load(3, 7)['inputs'], first)
