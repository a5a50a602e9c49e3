"""What a probe finds out about one file: no false alarm on odd but healthy ones, and no damage overlooked."""

import os
import struct
import time
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from watermark import RECIPES, copy_from_key_frame, draw, write_audio, write_video

from fedvssl.video.container import VideoFile
from fedvssl.video.probing.extent import missing_bytes
from fedvssl.video.probing.facts import Facts, Trouble
from fedvssl.video.probing.header import unevenness
from fedvssl.video.probing.probe import probe
from fedvssl.video.probing.probe_pool import ProbePool

SAYS_NOTHING = {'.mkv', '.webm', '.ts', '.mpg'}  # of how many frames there are


@pytest.mark.parametrize('name', RECIPES)
def test_healthy_files_raise_no_alarm(name, video):
    recipe = RECIPES[name]
    declared = 0 if recipe.suffix in SAYS_NOTHING else recipe.frames
    found = probe(video(name))
    assert found == Facts(full=True, backend='pyav', frames=recipe.frames, declared=declared, uneven=found.uneven)
    assert (found.uneven > 0.25) == (name == 'h264_vfr')
    assert probe(video(name), quick=True) == replace(found, full=False)


def test_a_fragmented_file_promises_nothing(tmp_path):
    recipe = replace(RECIPES['h264_gop12'], container={'movflags': 'frag_keyframe+empty_moov'})
    found = probe(write_video(tmp_path / 'fragmented.mp4', recipe))
    assert (found.frames, found.declared, found.hidden) == (60, 0, 0)


def test_a_still_picture_at_the_end(tmp_path):
    for suffix in ('.mp4', '.mkv'):
        recipe = replace(RECIPES['h264_gop12'], times=lambda number: number + 75 * (number == 59))
        found = probe(write_video(tmp_path / f'still{suffix}', recipe))
        assert found == Facts(full=True, backend='pyav', frames=60, declared=60 if suffix == '.mp4' else 0)


@pytest.mark.parametrize(('pts', 'expected'), [
    (np.arange(100) * 512, 0),
    (np.rint(np.arange(300) * 1001 / 30), 0),  # 29.97 Hz in Matroska's milliseconds
    (np.rint(np.arange(300) * 1000 / 240), 0),  # 4, 4, 5 ms
    (np.rint(np.rint(np.arange(300) * 1000 / 30) * 90), 0.01),  # milliseconds, then 90 kHz
    ([0, 10, 20, 30, 500], 0),  # a still picture at the end
    ([0, 10, 20], 0),  # too few to tell
    ([0], 0),
    # One of eleven frames is missing in the middle: 12 intervals of 100 in 11, so the grid is 12/11 wide.
    (np.delete(np.arange(13), 6) * 100, 5 / 11 * 11 / 11),
    # 30 Hz, then 15: the first half is off by half of its own duration.
    (np.cumsum([0] + [1000] * 30 + [2000] * 30 + [2000]), 10),
], ids=['constant', '29.97 in ms', '240 in ms', 'rounded twice', 'still', 'few', 'one', 'one missing', 'two rates'])
def test_unevenness(pts, expected):
    assert unevenness(np.array(pts, np.int64)) == pytest.approx(expected, abs=0.02)


def test_what_an_edit_list_hides(edit_list_video):
    found = probe(edit_list_video)
    assert (found.frames, found.hidden, found.declared, found.trouble) == (43, 17, 60, '')


def patched(source, path, place, data):
    content = bytearray(source.read_bytes())
    content[place:place + len(data)] = data
    path.write_bytes(content)
    return path


def test_a_count_that_lies(video, tmp_path):
    source = video('mpeg4_avi')
    place = source.read_bytes().index(b'strh') + 8 + 32  # dwLength
    found = probe(patched(source, tmp_path / 'lie.avi', place, struct.pack('<I', 77)))
    assert (found.frames, found.declared) == (60, 77)


def test_a_duration_that_lies(video, tmp_path):
    source = video('h264_mkv')
    place = source.read_bytes().index(b'\x44\x89\x88') + 3  # Duration, 8 bytes: a float64 of milliseconds
    found = probe(patched(source, tmp_path / 'lie.mkv', place, struct.pack('>d', 4000)))
    assert (found.frames, found.declared) == (60, 100)


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_faststart', 'h264_mkv', 'mpeg4_avi', 'mpeg4_avi_b'])
def test_bytes_that_are_missing_at_the_end(name, video, tmp_path):
    source = video(name)
    data, path = source.read_bytes(), tmp_path / f'cut{source.suffix}'
    assert missing_bytes(source) == 0
    behind = len(data) - data.index(b'moov') if name == 'h264_gop12' else 0  # a box that is not begun is not missed
    for lost in (1, len(data) // 2):
        path.write_bytes(data[:-lost])
        assert missing_bytes(path) in (lost, lost - behind - 4)
    path.write_bytes(data + b'appended by somebody')
    assert missing_bytes(path) == 0


@pytest.mark.parametrize(('data', 'expected'), [
    (b'', 0),
    (struct.pack('>I4sI4sQ', 8, b'ftyp', 1, b'mdat', 1000), 984),  # a 64-bit length
    (struct.pack('>I4sI4s', 8, b'ftyp', 0, b'mdat') + bytes(50), 0),  # "up to the end"
    (struct.pack('>I4sI4s', 8, b'ftyp', 3, b'mdat') + bytes(50), 0),  # nonsense
    (b'RIFF' + struct.pack('<I', 0xffffffff) + b'AVI ', 0),  # written as a stream
    (bytes.fromhex('1a45dfa3 80 18538067 ff') + bytes(50), 0),  # a segment of unknown length
    (bytes.fromhex('1a45dfa3 81 00 18538067 4100') + bytes(50), 256 - 50),  # of 256 bytes, in a length of two
    (bytes.fromhex('1a45dfa3'), 0),
], ids=range(8))
def test_missing_bytes_of_made_up_files(data, expected, tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(data)
    assert missing_bytes(path) == expected


def test_what_cannot_be_opened(video, tmp_path):
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.avi').write_text('hello\n' * 99)
    (tmp_path / 'noise.mkv').write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / 'not.zip').write_bytes(b'PK')
    (tmp_path / 'folder').mkdir()
    os.mkfifo(tmp_path / 'fifo.mp4')
    write_audio(tmp_path / 'audio.mp4')
    paths = [*tmp_path.iterdir(), tmp_path / 'missing.mp4']
    assert len(paths) == 8
    for path in paths:
        for quick in (False, True):
            found = probe(path, quick)
            assert (found.trouble, found.frames, found.missing_bytes) == ('undecodable', 0, 0) and found.reason, path
            assert str(tmp_path) not in found.reason


def test_a_table_that_is_cut_off(video, tmp_path):
    path = tmp_path / 'cut.mp4'
    path.write_bytes(video('h264_gop12').read_bytes()[:-400])
    found = probe(path)
    assert found.trouble in ('undecodable', 'no-frames') and found.missing_bytes == 400


def test_a_file_without_frames(tmp_path):
    recipe = replace(RECIPES['h264_gop12'], container={'movflags': 'frag_keyframe+empty_moov'})
    data = write_video(tmp_path / 'whole.mp4', recipe).read_bytes()
    path = tmp_path / 'none.mp4'
    path.write_bytes(data[:data.index(b'moof') - 4])
    assert probe(path) == Facts(full=True, trouble='no-frames', reason='no video frames', backend='pyav')


@pytest.mark.parametrize(('name', 'words'), [('h264_gop12', 'of 60 frames come out of the decoder'),
                                             ('mpeg4_avi_b', 'of 60 packets are lost')])
def test_a_hole_in_the_middle(name, words, video, tmp_path):
    source = video(name)
    with av.open(str(source)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path = patched(source, tmp_path / f'hole{source.suffix}', places[25], bytes(places[35] - places[25]))
    found = probe(path)
    assert (found.trouble, found.missing_bytes) == ('damaged', 0)
    assert words in found.reason
    assert probe(path, quick=True).trouble == 'damaged'


def test_frames_that_get_lost_without_a_word(video, monkeypatch):
    frames = VideoFile.frames
    monkeypatch.setattr(VideoFile, 'frames', lambda self, packets: islice(frames(self, packets), 59))
    found = probe(video('h264_gop12'))
    assert (found.trouble, found.reason) == ('damaged', 'only 59 of 60 frames come out of the decoder')


def test_damage_that_the_decoder_conceals(video, tmp_path):
    """Where a stream does not start afresh, the decoder has to be tolerant; it marks what it patched."""
    path = copy_from_key_frame(video('h264_intra_refresh'), tmp_path / 'cut.mp4', 1)
    assert probe(path).trouble == ''
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in places[25:30]:
        data[start + size // 2:start + size] = b'\xff' * (size - size // 2)
    path.write_bytes(data)
    found = probe(path)
    assert found.trouble == 'damaged' and found.reason.endswith(f' of {found.frames} is damaged')


def test_only_a_full_probe_sees_everything(video, tmp_path):
    source = video('h264_all_intra')
    with av.open(str(source)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path = patched(source, tmp_path / 'hole.mp4', places[20] + 8, b'\xff' * 200)  # neither first, middle nor last
    assert probe(path, quick=True).trouble == ''
    found = probe(path)
    assert found.trouble == 'damaged' and found.reason.startswith('20 of 60 frames come out of the decoder, then ')


def test_frames_of_several_sizes(tmp_path):
    parts = []
    for number, name in enumerate(('a.ts', 'b.ts')):
        with av.open(str(tmp_path / name), 'w') as container:
            stream = container.add_stream('mpeg2video', rate=25)
            stream.width, stream.height, stream.pix_fmt = 64 + 32 * number, 64, 'yuv420p'
            for index in range(10):
                picture = np.ascontiguousarray(draw(index)[:64, :stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode())
        parts.append((tmp_path / name).read_bytes())
    path = tmp_path / 'both.ts'
    path.write_bytes(b''.join(parts))
    found = probe(path)
    assert found.trouble == 'mixed-sizes' and found.reason.endswith(' is 96x64, the first one 64x64')


def pictures(folder: Path, sizes) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes, 1):
        cv2.imwrite(str(folder / f'img_{number:05d}.jpg'), np.full((size, 40, 3), 5 * number, np.uint8))
    return folder


def test_pictures_in_a_folder(tmp_path):
    whole = pictures(tmp_path / 'whole', [24] * 6)
    assert probe(whole) == Facts(full=True, backend='frames', frames=6)
    (whole / 'img_00003.jpg').write_bytes(b'\xff\xd8\xff broken')
    assert probe(whole).trouble == 'damaged' and probe(whole, quick=True).trouble == ''
    (whole / 'img_00003.jpg').unlink()
    assert probe(whole).trouble == 'undecodable'
    found = probe(pictures(tmp_path / 'mixed', [24, 24, 48]))
    assert (found.trouble, found.reason) == ('mixed-sizes', 'frame 2 is 40x48, the first one 40x24')


CHILD = """
import os, signal, sys, time
from fedvssl.video.probing.probe_child import answer
from fedvssl.video.processes.serve import serve

def handler(request):
    name = os.path.basename(request['path'])
    if 'hang' in name:
        time.sleep(1000)
    if 'crash' in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if 'unavailable' in name:
        return {'unavailable': ['pyav', 'gone', 'pip install av']}, None
    return answer(request)

serve(handler)
"""


@pytest.fixture
def child(tmp_path, monkeypatch) -> str:
    """Name of a module for children that meet files on which a decoder hangs or dies."""
    (tmp_path / 'modules').mkdir()
    (tmp_path / 'modules/bad_decoder.py').write_text(CHILD)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'modules'))
    return 'bad_decoder'


def test_files_that_hang_or_kill_the_decoder(child, video, tmp_path):
    good = video('h264_gop12')
    files = dict.fromkeys([good, tmp_path / 'hang.mp4', tmp_path / 'crash.mp4', video('mpeg4_avi')], 0)
    found = dict(ProbePool(2, 1.5, child).run(files, quick=False))
    assert found.keys() == files.keys()
    assert found[good] == probe(good) and found[video('mpeg4_avi')].frames == 60
    hung, dead = found[tmp_path / 'hang.mp4'], found[tmp_path / 'crash.mp4']
    assert (hung.trouble, hung.waited) == (Trouble.HANGS, 1.5) and 'no answer within 1.5 s' in hung.reason
    assert dead.trouble == Trouble.CRASHES and 'SIGSEGV' in dead.reason


def test_a_pool_that_is_stopped_waits_for_nobody(child, video, tmp_path):
    begun = time.monotonic()
    with closing(ProbePool(2, 300, child).run({video('h264_gop12'): 0, tmp_path / 'hang.mp4': 0}, False)) as results:
        path, _ = next(results)
    assert path == video('h264_gop12')
    assert time.monotonic() - begun < 120


def test_large_files_get_more_time():
    assert ProbePool(1, 60).allowance(700_000_000) == 760


def test_a_missing_decoder_is_nobodys_fault(child, tmp_path):
    from fedvssl.video import BackendUnavailableError

    with pytest.raises(BackendUnavailableError, match='pip install av'):
        list(ProbePool(1, 20, child).run({tmp_path / 'unavailable.mp4': 0}, False))
