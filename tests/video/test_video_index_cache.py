"""Kept frame indices: the same numbers back, never those of another file, never in the way."""

import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from dataclasses import fields, replace
from functools import partial

import cv2
import numpy as np
import pytest
from watermark import RECIPES, draw, read_numbers

from fedvssl.errors import ConfigError
from fedvssl.video import VideoDecodeError, index_cache, open_video
from fedvssl.video.image_table import ImageTable
from fedvssl.video.index import FrameIndex
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.indexing import index_of
from fedvssl.video.readers import pyav, zips


def same(one: FrameIndex, other: FrameIndex) -> bool:
    return all(np.array_equal(getattr(one, spec.name), getattr(other, spec.name)) for spec in fields(one))


@pytest.fixture
def cache(tmp_path):
    cache = IndexCache(tmp_path)
    yield cache
    cache.close()


@pytest.fixture
def copy(video, tmp_path):
    return shutil.copy(video('h264_open_gop'), tmp_path / 'clip.mp4')


@pytest.mark.parametrize('name', RECIPES)
def test_an_index_comes_back_as_it_went(name, video):
    index = index_of(video(name))
    data = index.to_bytes()
    assert same(FrameIndex.from_bytes(data), index)
    assert len(data) < 700


@pytest.mark.parametrize('name', ['h264_open_gop', 'mpeg4_avi_b', 'hevc', 'h264_all_intra'])
def test_frames_are_right_with_a_kept_index(name, video, cache, monkeypatch):
    with open_video(video(name), indices=cache) as reader:
        expected = reader.get(range(len(reader)))
    monkeypatch.setattr(pyav, 'build_index', None)  # now there is no other way
    for _ in range(2):
        with open_video(video(name), indices=cache) as reader:
            assert read_numbers(reader.get(range(len(reader)))) == list(range(RECIPES[name].frames))
            assert np.array_equal(reader.get([7, 40 % len(reader)]), expected[[7, 40 % len(reader)]])


def test_a_stream_without_an_idr_picture_stays_tolerated(video, cache, tmp_path):
    from watermark import copy_from_key_frame, sequential

    path = copy_from_key_frame(video('h264_open_gop'), tmp_path / 'from.mp4', 1)
    expected = read_numbers(sequential(path).values())
    for _ in range(2):
        with open_video(path, indices=cache) as reader:
            assert not reader.index.strict
            assert read_numbers(reader.get(range(len(reader)))) == expected


def test_a_file_that_changed_gets_a_new_index(video, cache, tmp_path):
    path = tmp_path / 'clip.mp4'
    for name in ('h264_gop12', 'h264_gop250'):
        shutil.copyfile(video(name), path)
        with open_video(path, indices=cache) as reader:
            assert len(reader) == RECIPES[name].frames


def test_the_same_size_at_another_time_is_another_file(copy, cache):
    cache.put(copy, index_of(copy))
    assert cache.get(copy, FrameIndex) is not None
    os.utime(copy, ns=(1, 1))
    assert cache.get(copy, FrameIndex) is None


def test_a_set_can_be_moved(copy, cache, tmp_path):
    (tmp_path / 'set').mkdir()
    here = IndexCache(tmp_path / 'set')
    shutil.move(copy, tmp_path / 'set/clip.mp4')
    here.put(tmp_path / 'set/clip.mp4', index_of(tmp_path / 'set/clip.mp4'))
    here.close()
    shutil.move(tmp_path / 'set', tmp_path / 'moved')
    assert IndexCache(tmp_path / 'moved').get(tmp_path / 'moved/clip.mp4', FrameIndex) is not None


def test_another_version_is_not_taken(copy, cache, monkeypatch, tmp_path):
    cache.put(copy, index_of(copy))
    monkeypatch.setattr(index_cache, 'VERSION', 99)
    assert IndexCache(tmp_path).get(copy, FrameIndex) is None


def test_it_can_be_pickled_and_shared(copy, cache):
    twin = pickle.loads(pickle.dumps(cache))
    twin.put(copy, index_of(copy))
    assert cache.get(copy, FrameIndex) is not None


def test_it_survives_a_fork(copy, cache, tmp_path):
    cache.put(copy, index_of(copy))
    code = ('import os, sys; from pathlib import Path; from fedvssl.video.index import FrameIndex\n'
            'from fedvssl.video.index_cache import IndexCache\n'
            'cache, clip = IndexCache(Path(sys.argv[1])), Path(sys.argv[2])\n'
            'assert cache.get(clip, FrameIndex)\n'
            'child = os.fork()\n'
            'if not child: os._exit(0 if cache.get(clip, FrameIndex) else 1)\n'
            'sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or (0 if cache.get(clip, FrameIndex) else 2))')
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path), str(copy)], check=False,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert done.returncode == 0


def test_a_damaged_cache_is_begun_anew(copy, cache, caplog):
    cache.file.write_bytes(b'no database at all' * 100)
    assert cache.get(copy, FrameIndex) is None
    assert 'damaged' in caplog.text
    cache.put(copy, index_of(copy))
    assert cache.get(copy, FrameIndex) is not None


@pytest.mark.parametrize('data', [b'', b'{}\n', b'[1]\n', b'null\nx', b'\xff\n', None])
def test_a_damaged_row_is_no_index(data, copy, cache):
    index = index_of(copy)
    cache.put(copy, index)
    with sqlite3.connect(cache.file) as connection:
        connection.execute('UPDATE indices SET data = ?', (data,))
    assert cache.get(copy, FrameIndex) is None
    with open_video(copy, indices=cache) as reader:
        assert same(reader.index, index)
    assert same(cache.get(copy, FrameIndex), index)


@pytest.mark.parametrize('change', [
    dict(frames=59), dict(frames=0), dict(packets=3), dict(positions=np.zeros(60, np.int64) - 1),
    dict(starts=np.full(60, 99)), dict(pts=np.zeros(60, np.int64)), dict(key_pts=np.empty(0, np.int64)),
    dict(key_positions=np.arange(5) + 1000), dict(width='1'), dict(frames=True)])
def test_numbers_that_cannot_be_are_refused(change, copy):
    with pytest.raises(ValueError, match='fit|cannot be|not a frame index|instead of|numbers'):
        FrameIndex.from_bytes(replace(index_of(copy), **change).to_bytes())


@pytest.fixture
def zipped(tmp_path):
    path = tmp_path / 'clip.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', b'not a frame')
        for number in (2, 0, 1):
            data = cv2.imencode('.png', draw(number)[..., ::-1])[1].tobytes()
            archive.writestr(f'a/img_{number}.png', data, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][number % 2])
    return path


def test_the_table_of_a_zip_is_kept_too(zipped, cache, monkeypatch):
    for _ in range(2):
        with open_video(zipped, indices=cache) as reader:
            assert len(reader) == 3 and reader.backend == 'zip-jpeg'
            assert read_numbers(reader.get([2, 0, 1])) == [2, 0, 1]
        monkeypatch.setattr(zips.ImageTable, 'of', None)  # from now on there is no other way
    table = cache.get(zipped, ImageTable)
    assert table.names == ('a/img_0.png', 'a/img_1.png', 'a/img_2.png')
    assert cache.get(zipped, FrameIndex) is None  # it is no index of a video file


def test_an_image_is_checked_against_its_own_header_still(zipped, cache):
    with open_video(zipped, indices=cache) as reader:
        table = reader.table
    numbers = table.numbers.copy()
    numbers[1, 0] += 1
    for spoilt, message in ((replace(table, numbers=numbers), 'img_1.png: BadZipFile'),
                            (replace(table, names=('a/img_0.png', 'a/img_9.png', 'x')), 'img_9.png: BadZipFile')):
        cache.put(zipped, spoilt)
        with open_video(zipped, indices=cache) as reader:
            assert read_numbers(reader.get([0])) == [0]
            with pytest.raises(VideoDecodeError, match=message):
                reader.get([1])


def test_tables_that_cannot_be(zipped, cache):
    with open_video(zipped) as reader:
        table = reader.table
    assert ImageTable.from_bytes(table.to_bytes()).names == table.names
    for spoilt in (replace(table, names=()), replace(table, names=('a', 'b')), replace(table, numbers=-table.numbers),
                   replace(table, numbers=table.numbers[:, :3])):
        with pytest.raises(ValueError, match='table of images|do not fit'):
            ImageTable.from_bytes(spoilt.to_bytes())


def test_where_it_cannot_be_written_indices_are_made_each_time(copy, tmp_path, caplog):
    caplog.set_level(logging.INFO, 'fedvssl')
    cache = IndexCache(tmp_path, tmp_path / 'no such directory/index.sqlite')
    for _ in range(3):
        with open_video(copy, indices=cache) as reader:
            assert len(reader) == 60
    assert caplog.text.count('the cache of frame indices cannot be used') == 1


def test_a_locked_cache_is_passed_by(copy, cache, monkeypatch):
    monkeypatch.setattr(index_cache, '_BUSY_SECONDS', 0.05)
    cache.put(copy, index_of(copy))
    late = IndexCache(cache.file.parent)
    with sqlite3.connect(cache.file) as other:
        other.execute('BEGIN EXCLUSIVE')
        begun = time.monotonic()
        for _ in range(20):  # waited for once, not at every open
            assert late.get(copy, FrameIndex) is None
        assert time.monotonic() - begun < 0.9
    assert cache.get(copy, FrameIndex) is not None


def test_a_cache_that_cannot_be_written_is_read(copy, cache, video, tmp_path, monkeypatch):
    cache.put(copy, index_of(copy))
    monkeypatch.setattr(index_cache.sqlite3, 'connect', partial(read_only, sqlite3.connect))
    here, other = IndexCache(tmp_path), shutil.copy(video('h264_gop12'), tmp_path / 'other.mp4')
    here.put(other, index_of(other))
    assert here.get(other, FrameIndex) is None
    assert here.get(copy, FrameIndex) is not None


def read_only(connect, file, *arguments, **options):
    return connect(f'file:{file}?mode=ro', *arguments, uri=True, **options)


def test_a_cache_that_is_deleted_while_in_use_is_made_anew(copy, cache):
    cache.put(copy, index_of(copy))
    cache.file.unlink()
    for _ in range(2):
        cache.put(copy, index_of(copy))
    assert IndexCache(cache.file.parent).get(copy, FrameIndex) is not None


@pytest.mark.parametrize('content', [b'print("mine")', b'path,label\n' * 50, None])
def test_somebody_elses_file_is_not_touched(content, tmp_path):
    file = tmp_path / 'mine'
    if content is None:
        with sqlite3.connect(file) as connection:
            connection.execute('CREATE TABLE mine (x)')
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match='data.decode.index: .* no cache of frame indices'):
        IndexCache(tmp_path, file)
    assert file.read_bytes() == before


def test_a_named_file_of_ours_is_taken_again(copy, tmp_path):
    IndexCache(tmp_path, tmp_path / 'named').put(copy, index_of(copy))
    assert IndexCache(tmp_path, tmp_path / 'named').get(copy, FrameIndex) is not None


def test_a_file_that_is_replaced_meanwhile_keeps_no_wrong_index(copy, cache, video, monkeypatch):
    original = pyav.build_index

    def slow(opened):
        index = original(opened)
        shutil.copyfile(video('h264_gop250'), copy)
        return index

    monkeypatch.setattr(pyav, 'build_index', slow)
    with open_video(copy, indices=cache) as reader:
        assert len(reader) == 60
    assert cache.get(copy, FrameIndex) is None


def test_names_that_are_no_text(video, tmp_path, cache):
    path = tmp_path / os.fsdecode(b'b\xff.mp4')
    shutil.copyfile(video('h264_gop12'), path)
    for _ in range(2):
        with open_video(path, indices=cache) as reader:
            assert len(reader) == 60
    assert cache.get(path, FrameIndex) is not None
    with pytest.raises(VideoDecodeError):
        open_video('a\0b.mp4', indices=cache)
