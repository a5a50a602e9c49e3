"""Bad files of every kind, all alike: each frame that a reader returns is the right one, or there is a typed error.

Nothing else may come out, nothing may take long, and nothing may be left behind.
"""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from watermark import RECIPES, draw, read_numbers, sequential, write_audio

from fedvssl.video import VideoDecodeError, open_video

Video = Callable[[str], Path]
Maker = Callable[[Path, Video], object]

OK, ERROR = 'every frame', 'no frame'
SECONDS = 10  # for a file; they take milliseconds


@dataclass(frozen=True)
class Bad:
    """A bad file.

    Attributes:
        make: Writes it.
        suffix: Of its name.
        source: The recipe whose frames it should hold; none may be had where there is none.
        expected: `OK`, `ERROR`, or nothing where a part of the frames is there.
    """

    make: Maker
    suffix: str = '.mp4'
    source: str = ''
    expected: str = ERROR


def _bytes(data: bytes) -> Maker:
    return lambda path, video: path.write_bytes(data)


def _copied(name: str, change: Callable[[bytearray], bytearray | bytes]) -> Maker:
    def make(path: Path, video: Video) -> None:
        path.write_bytes(change(bytearray(video(name).read_bytes())))
    return make


def _cut(share: float) -> Callable[[bytearray], bytearray]:
    return lambda data: data[:int(len(data) * share)]


def _zeroed(first: float, last: float) -> Callable[[bytearray], bytearray]:
    def change(data: bytearray) -> bytearray:
        low, high = int(len(data) * first), int(len(data) * last)
        data[low:high] = bytes(high - low)
        return data
    return change


def _rotten(share: float, every: int) -> Callable[[bytearray], bytearray]:
    def change(data: bytearray) -> bytearray:
        for place in range(int(len(data) * share), len(data), every):
            data[place] ^= 0x55
        return data
    return change


def _without(box: bytes) -> Callable[[bytearray], bytearray]:
    return lambda data: data.replace(box, b'xxxx')


def _shifted_offsets(data: bytearray) -> bytearray:
    """Chunk offsets that point 1,000 bytes on: the table is sound, and every packet is nonsense."""
    place = data.index(b'stco') + 12
    for entry in range(int.from_bytes(data[place - 4:place])):
        at = place + 4 * entry
        data[at:at + 4] = (int.from_bytes(data[at:at + 4]) + 1000).to_bytes(4)
    return data


def _zip(*members: tuple[str, bytes]) -> Maker:
    def make(path: Path, video: Video) -> None:
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in members:
                archive.writestr(name, data)
    return make


def _folder(*members: tuple[str, bytes]) -> Maker:
    def make(path: Path, video: Video) -> None:
        path.mkdir()
        for name, data in members:
            (path / name).write_bytes(data)
    return make


def _broken_off_zip(path: Path, video: Video) -> None:
    _zip(('0.jpg', _jpeg(0)), ('1.jpg', _jpeg(1)))(path, video)
    path.write_bytes(path.read_bytes()[:-30])


def _jpeg(number: int) -> bytes:
    return cv2.imencode('.jpg', draw(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _no_packets(path: Path, video: Video) -> None:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        container.start_encoding()


J = [_jpeg(number) for number in range(3)]
BAD = {
    'missing': Bad(lambda path, video: None),
    'empty': Bad(_bytes(b'')),
    'one byte': Bad(_bytes(b'\0')),
    'text': Bad(_bytes(b'this is not a video\n' * 40)),
    'web page': Bad(_bytes(b'<!DOCTYPE html><html><body>429 Too Many Requests</body></html>')),
    'noise': Bad(_bytes(np.random.default_rng(0).bytes(5000))),
    'directory': Bad(lambda path, video: path.mkdir()),
    'pipe': Bad(lambda path, video: os.mkfifo(path)),
    'link to nothing': Bad(lambda path, video: path.symlink_to('nowhere')),
    'link to itself': Bad(lambda path, video: path.symlink_to(path)),
    'playlist': Bad(lambda path, video: path.write_text(f'ffconcat version 1.0\nfile {video("h264_gop12")}\n')),
    'sound only': Bad(lambda path, video: write_audio(path)),
    'no packets': Bad(_no_packets),
    'header only': Bad(_copied('h264_gop12', lambda data: data[:32])),
    'no table': Bad(_copied('h264_gop12', _without(b'moov'))),
    'table of nothing': Bad(_copied('h264_gop12', _without(b'stbl'))),
    'no configuration': Bad(_copied('h264_gop12', _without(b'avcC'))),
    'mp4 that breaks off': Bad(_copied('h264_gop12', _cut(0.5))),
    'mp4 that breaks off, table first': Bad(_copied('h264_faststart', _cut(0.5)), '.mp4', 'h264_faststart', ''),
    'offsets that are wrong': Bad(_copied('h264_faststart', _shifted_offsets)),
    'avi that breaks off': Bad(_copied('mpeg4_avi', _cut(0.8)), '.avi', 'mpeg4_avi', ''),
    'mkv that breaks off': Bad(_copied('h264_mkv', _cut(0.6)), '.mkv', 'h264_mkv', ''),
    'transport stream that breaks off': Bad(_copied('h264_ts', _cut(0.6)), '.ts', 'h264_ts', ''),
    'webm that breaks off': Bad(_copied('vp9_webm', _cut(0.6)), '.webm', 'vp9_webm', ''),
    'hole in an mp4': Bad(_copied('h264_faststart', _zeroed(0.5, 0.6)), '.mp4', 'h264_faststart', ''),
    'hole in an mkv': Bad(_copied('h264_mkv', _zeroed(0.5, 0.6)), '.mkv', 'h264_mkv', ''),
    'hole in an avi': Bad(_copied('mpeg4_avi_b', _zeroed(0.7, 0.75)), '.avi', 'mpeg4_avi_b', ''),
    'hole in hevc': Bad(_copied('hevc', _zeroed(0.5, 0.6)), '.mp4', 'hevc', ''),
    'rot in an mp4': Bad(_copied('h264_faststart', _rotten(0.4, 40)), '.mp4', 'h264_faststart', ''),
    'rot in mjpeg': Bad(_copied('mjpeg_avi', _zeroed(0.5, 0.7)), '.avi', 'mjpeg_avi', ''),
    'zip of text': Bad(_zip(('readme.txt', b'hello')), '.zip'),
    'zip that breaks off': Bad(_broken_off_zip, '.zip'),
    'zip with a gap': Bad(_zip(('0.jpg', J[0]), ('2.jpg', J[2])), '.zip'),
    'zip of broken pictures': Bad(_zip(('0.jpg', J[0][:-300]), ('1.jpg', b''), ('2.jpg', b'\xff\xd8\xff')), '.zip'),
    'folder of text': Bad(_folder(('readme.txt', b'hello')), ''),
    'folder with a gap': Bad(_folder(('0.jpg', J[0]), ('2.jpg', J[2])), ''),
    'folder of broken pictures': Bad(_folder(('0.jpg', J[0][:-300]), ('1.jpg', b'')), ''),
    # Odd, but sound: nothing may be refused.
    'wrong suffix': Bad(_copied('mpeg4_avi', bytes), '.mp4', 'mpeg4_avi', OK),
    'no suffix': Bad(_copied('h264_gop12', bytes), '', 'h264_gop12', OK),
    'rubbish behind the end': Bad(_copied('h264_gop12', lambda data: data + b'rubbish' * 99), '.mp4', 'h264_gop12', OK),
    'a name like a pattern': Bad(_copied('h264_gop12', bytes), ' %03d (1) [a]?.mp4', 'h264_gop12', OK),
}


def outcome(path: Path, clean: dict[int, np.ndarray]) -> str:
    """Returns which frames there are; fails if one is not what it should be, or anything but a typed error comes."""
    shown: list[int] = []
    refused = 0
    try:
        with open_video(path) as reader:
            count = len(reader)
            for number in range(count):
                try:
                    frame = reader.get([number])[0]
                except VideoDecodeError as error:
                    assert error.path == str(path)
                    refused += 1
                    continue
                shown += read_numbers([frame])
                # What breaks off may lack the B-frames before its last one, which would be stored behind it.
                assert shown[-1] == number or (shown[-1] > number >= count - 3 and count < len(clean))
                assert np.abs(frame.astype(int) - clean[shown[-1]]).mean() < 3, f'frame {number} is another picture'
    except VideoDecodeError as error:
        assert str(path) in str(error)
        return ERROR
    return ERROR if not shown else '' if refused or len(shown) < len(clean) else OK


@pytest.mark.parametrize('name', BAD)
def test_a_bad_file_is_an_error_and_nothing_else(name, video, tmp_path):
    bad = BAD[name]
    path = tmp_path / f'file{bad.suffix}'
    bad.make(path, video)
    clean = sequential(video(bad.source)) if bad.source else {}
    begun = time.monotonic()
    found = outcome(path, clean)
    assert time.monotonic() - begun < SECONDS
    assert found == bad.expected or (found == ERROR and not bad.expected)


def test_there_are_enough_of_them():
    assert sum(bad.expected != OK for bad in BAD.values()) >= 25


def test_a_picture_of_another_frame_would_be_noticed(video, tmp_path):
    """The subject of the test above: what it compares with is not what the reader says."""
    clean = sequential(video('h264_gop12'))
    with pytest.raises(AssertionError, match='frame 3 is another picture'):
        outcome(video('h264_gop12'), {**clean, 3: clean[4]})
    assert read_numbers([clean[3], clean[4]]) == [3, 4]


REPEATED = """
import os, sys
from fedvssl.video import VideoDecodeError, open_video
def held():
    pages = int(open('/proc/self/statm').read().split()[1])
    fds, threads = (len(os.listdir(f'/proc/self/{kind}')) for kind in ('fd', 'task'))
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20, fds, threads
opened = 0
while opened < 2200:
    if opened == 200:
        before = held()
    for path in sys.argv[1:]:
        opened += 1
        try:
            with open_video(path) as reader:
                reader.get([0, len(reader) // 2])
        except VideoDecodeError:
            pass
after = held()
print(after[0] - before[0], *before[1:], *after[1:])
"""


def test_two_thousand_opens_leave_nothing_behind(video, tmp_path):
    """No more than 10 MB, no descriptor and no thread, whether a file is good or bad."""
    files = [shutil.copy(video(name), tmp_path) for name in ('h264_gop12', 'h264_all_intra', 'mjpeg_avi')]
    for name in ('hole in an mp4', 'mp4 that breaks off', 'noise', 'sound only', 'zip of broken pictures',
                 'hole in an mkv', 'empty'):
        files.append(tmp_path / f'{name}{BAD[name].suffix}')
        BAD[name].make(files[-1], video)
    assert 2000 % len(files) == 0
    done = subprocess.run([sys.executable, '-c', REPEATED, *map(str, files)], capture_output=True, text=True,
                          check=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    growth, fds, threads, fds_after, threads_after = map(float, done.stdout.split())
    assert growth <= 10
    assert (fds, threads) == (fds_after, threads_after)


def test_the_matrix_of_good_files_is_whole():
    """What must be exact: containers, codecs and structures, each of which trips a reader that others use."""
    suffixes = {recipe.suffix for recipe in RECIPES.values()}
    assert len(RECIPES) >= 15
    assert {'.mp4', '.mkv', '.avi', '.ts', '.mpg', '.webm'} <= suffixes
