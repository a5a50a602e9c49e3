"""The interface: arguments, errors, lazy imports."""

import errno
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from watermark import read_numbers

import fedvssl.video.container
from fedvssl.errors import ConfigError, FedVSSLError
from fedvssl.video import BACKENDS, BackendUnavailableError, FrameReader, VideoDecodeError, open_video
from fedvssl.video.errors import describe
from fedvssl.video.reader import Window


@pytest.mark.parametrize(('indices', 'message'), [
    ([60], r'60\.\.60 are outside of 0\.\.59'), ([0, -1], r'-1\.\.0 are outside'), ([10 ** 30], 'integers'),
    ([], 'non-empty'), ([[1, 2]], 'flat'), ([0.5], 'integers'), ([True], 'integers'), (['1'], 'integers')])
def test_wrong_indices_are_the_callers_mistake(indices, message, video):
    with open_video(video('h264_gop12')) as reader, pytest.raises(ValueError, match=message):
        reader.get(indices)


def test_any_sequence_of_integers_will_do(video):
    with open_video(str(video('h264_gop12')), 'pyav') as reader:
        for indices in ((3, 1), range(3, 0, -2), np.array([3, 1], np.int16), np.array([3, 1], np.uint64)):
            assert read_numbers(reader.get(indices)) == [3, 1]


def test_a_closed_reader_says_so(video):
    reader = open_video(video('h264_gop12'))
    reader.close()
    reader.close()
    with pytest.raises(VideoDecodeError, match='closed'):
        reader.get([0])


def test_unknown_backends_and_timeouts_are_refused(video):
    with pytest.raises(ConfigError, match="did you mean 'decord'"):
        open_video(video('h264_gop12'), 'decorb')
    with pytest.raises(ValueError, match='timeout'):
        open_video(video('h264_gop12'), timeout=0)


def test_errors_name_path_backend_and_reason_and_survive_pickling():
    error = VideoDecodeError('a/b.mp4', 'pyav', 'no video stream')
    assert isinstance(error, FedVSSLError)
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert (copy.path, copy.backend, copy.reason) == ('a/b.mp4', 'pyav', 'no video stream')
        assert all(part in str(copy) for part in ('a/b.mp4', 'pyav', 'no video stream'))
    missing = pickle.loads(pickle.dumps(BackendUnavailableError('pyav', 'gone', 'pip install av')))
    assert 'pip install av' in str(missing)
    assert not isinstance(missing, VideoDecodeError)
    assert describe(ValueError('one\ntwo')) == 'ValueError: one'
    assert describe(ValueError()) == 'ValueError'


def test_a_missing_library_is_not_the_files_fault(video, monkeypatch):
    path = video('h264_gop12')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(BackendUnavailableError, match='pip install av'):
        open_video(path)


def test_foreign_exceptions_become_ours(video, monkeypatch):
    def fail(*_):
        raise IndexError('deep inside')

    with open_video(video('h264_gop12')) as reader:
        monkeypatch.setattr(reader, '_decode', fail)
        with pytest.raises(VideoDecodeError, match='IndexError: deep inside'):
            reader.get([0])
    monkeypatch.setattr(fedvssl.video.container.VideoFile, '_open', fail)
    with pytest.raises(VideoDecodeError, match='IndexError: deep inside'):
        open_video(video('h264_gop12'))


def test_auto_never_takes_decord(video):
    assert set(BACKENDS) >= {'pyav', 'decord'}
    with open_video(video('h264_gop12')) as reader:
        assert isinstance(reader, FrameReader)
        assert reader.backend == 'pyav'
        assert reader.path == video('h264_gop12')


def test_importing_the_package_imports_no_decoder():
    code = ('import sys, fedvssl.video as v; v.open_video; '
            'sys.exit(" ".join({"av", "decord", "torch", "cv2"} & set(sys.modules)) or None)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('size', [
    (0, 5), (-3, 5), (10.5, 5), 64, (1, 2, 3), (), 'ab', Window(0, 0, 500, 64, 64, 64), Window(-9, 0, 5, 5, 4, 4),
    Window(5, 0, 5, 5, 4, 4), Window(0, 0, 5, 5, 4, 0), lambda width, height: None, lambda width, height: (0, 0)],
    ids=lambda size: 'function' if callable(size) else str(size))
def test_a_wrong_size_is_the_callers_mistake(size, video):
    with open_video(video('h264_gop12')) as reader:
        with pytest.raises(ValueError, match='size: '):
            reader.get([3], size)
        assert reader.get([3], (20, 10)).shape == (1, 10, 20, 3)


def test_what_a_size_function_raises_is_raised(video):
    with open_video(video('h264_gop12')) as reader, pytest.raises(ZeroDivisionError):
        reader.get([3], lambda width, height: (width // 0, height))


def test_a_machine_at_its_end_is_no_bad_video(video, monkeypatch):
    def exhausted(*arguments, **options):
        raise OSError(errno.EMFILE, 'Too many open files')

    with open_video(video('h264_gop12')) as reader:
        monkeypatch.setattr(reader, '_decode', exhausted)
        with pytest.raises(BackendUnavailableError, match='ulimit'):
            reader.get([3])
    monkeypatch.setattr('fedvssl.video.container.VideoFile._open', exhausted)
    with pytest.raises(BackendUnavailableError, match='ulimit'):
        open_video(video('h264_gop12'))
