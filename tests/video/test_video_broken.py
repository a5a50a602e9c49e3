"""A bad file is a `VideoDecodeError` that names it: no other exception, no wait, no made-up frame."""

import os

import av
import numpy as np
import pytest
from watermark import RECIPES, read_numbers, sequential, write_audio

from fedvssl.video import VideoDecodeError, open_video


def _missing(path, video):
    pass


def _empty(path, video):
    path.touch()


def _text(path, video):
    path.write_text('this is not a video\n' * 40)


def _noise(path, video):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _directory(path, video):
    path.mkdir()


def _fifo(path, video):
    os.mkfifo(path)


def _audio_only(path, video):
    write_audio(path)


def _header_only(path, video):
    path.write_bytes(video('h264_gop12').read_bytes()[:32])


def _truncated_before_its_table(path, video):
    data = video('h264_gop12').read_bytes()
    path.write_bytes(data[:len(data) // 2])


def _playlist(path, video):
    path.write_text(f'ffconcat version 1.0\nfile {video("h264_gop12")}\n')


def _streaming_playlist(path, video):
    path.write_text(f'#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{video("h264_ts")}\n#EXT-X-ENDLIST\n')


def _dangling_link(path, video):
    path.symlink_to(path.with_name('nowhere'))


@pytest.mark.parametrize('backend', ['auto', 'pyav', 'decord', 'opencv'])
@pytest.mark.parametrize('make', [_missing, _empty, _text, _noise, _directory, _fifo, _audio_only, _header_only,
                                  _truncated_before_its_table, _playlist, _streaming_playlist, _dangling_link])
def test_opening_what_is_not_a_video(make, backend, video, tmp_path):
    path = tmp_path / 'bad file (1) [a].mp4'
    make(path, video)
    with pytest.raises(VideoDecodeError) as caught:
        open_video(path, backend)
    assert str(path) in str(caught.value)
    automatic = 'frames' if make is _directory else 'pyav'
    assert caught.value.backend == (automatic if backend == 'auto' else backend)


def test_text_is_not_rendered_as_a_video(tmp_path):
    path = tmp_path / 'notes.txt'  # libavformat would show it as on a terminal
    path.write_text('hello\n' * 100)
    with pytest.raises(VideoDecodeError):
        open_video(path)


def test_names_that_look_like_something_else(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('http:clip.mp4', 'concat:a|b.mp4', '-i.mp4', 'ä#%d.mp4', 'clip_%03d.mp4', 'x' * 200):
        (tmp_path / name).write_bytes(video('h264_gop12').read_bytes())
        with open_video(name) as reader:
            assert read_numbers(reader.get([7])) == [7]
    with pytest.raises(VideoDecodeError, match='ValueError'):
        open_video('a\0b.mp4')
    with pytest.raises(VideoDecodeError):
        open_video('y' * 5000)


def test_a_video_that_breaks_off_keeps_what_is_there(video, tmp_path):
    """Matroska has no table at its end: what was written can be read, and nothing is made up for the rest."""
    data = video('h264_mkv').read_bytes()
    path = tmp_path / 'cut.mkv'
    path.write_bytes(data[:len(data) * 6 // 10])
    with open_video(path) as reader:
        assert 20 < len(reader) < 50
        numbers = read_numbers(reader.get(range(len(reader))))
    # The last of them may lack B-frames in between, which are stored behind what follows them.
    assert numbers[:-3] == list(range(len(numbers) - 3))
    assert numbers == sorted(set(numbers))


def test_a_packet_that_is_cut_off_is_never_decoded(video, tmp_path, monkeypatch):
    source, clean = video('h264_faststart').read_bytes(), sequential(video('h264_faststart'))
    path = tmp_path / 'cut.mp4'
    path.write_bytes(source[:-100])
    with open_video(path) as reader:
        assert 40 < len(reader) < 60
        passes = []
        original = reader._pass
        monkeypatch.setattr(reader, '_pass', lambda *arguments: passes.append(arguments[0]) or original(*arguments))
        for number in range(len(reader) - 4):
            assert np.array_equal(reader.get([number])[0], clean[number])
        assert len(passes) == len(reader) - 4
        reader.get([len(reader) - 1])


@pytest.mark.parametrize(('name', 'filling'),
                         [('h264_gop12', 0), ('mpeg4_mp4_b', 255), ('hevc', 255), ('mjpeg_avi', 0)])
def test_damaged_pictures_are_refused(name, filling, video, tmp_path):
    """Half of a picture is overwritten: by default, libavcodec would patch it with pieces of its neighbours."""
    source, clean = video(name).read_bytes(), sequential(video(name))
    with av.open(str(video(name))) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    path = tmp_path / f'damaged{RECIPES[name].suffix}'
    refused = 0
    for start, size in places[::6]:
        data = bytearray(source)
        data[start + size // 2:start + size] = bytes([filling]) * (size - size // 2)
        path.write_bytes(data)
        try:
            with open_video(path) as reader:
                for number in range(0, len(reader), 2):
                    try:
                        assert np.abs(reader.get([number])[0].astype(int) - clean[number]).mean() < 3
                    except VideoDecodeError:
                        refused += 1
        except VideoDecodeError:
            refused += 1
    assert refused >= len(places[::6]) // 2


@pytest.mark.parametrize('name', ['h264_gop12', 'mpeg4_avi', 'mpeg4_avi_b', 'mpeg4_mp4_b'])
def test_zeroed_data_are_not_concealed(name, video, tmp_path):
    """Where a piece of the file is zero, a frame is either what it was or refused.

    As far as the decoder notices: MPEG-4 and VP9 carry no checksums, and a picture can be damaged without a trace.
    """
    source, clean = video(name).read_bytes(), sequential(video(name))
    path = tmp_path / f'zeroed{RECIPES[name].suffix}'
    refused = 0
    for share in (0.55, 0.6, 0.65, 0.7):  # in AVI, the first half is padding
        place = int(len(source) * share)
        path.write_bytes(source[:place] + bytes(300) + source[place + 300:])
        try:
            with open_video(path) as reader:
                for number in range(0, len(reader), 2):
                    try:
                        assert np.array_equal(reader.get([number])[0], clean[number])
                    except VideoDecodeError:
                        refused += 1
        except VideoDecodeError:
            refused += 1
    assert refused >= 4


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_mkv', 'h264_ts', 'mpeg4_avi_b', 'vp9_webm', 'mjpeg_avi'])
def test_mutated_files_raise_nothing_else(name, video, tmp_path):
    source, rng = video(name).read_bytes(), np.random.default_rng(11)
    path = tmp_path / f'mutated{RECIPES[name].suffix}'
    for _ in range(25):
        data = bytearray(source)
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
        path.write_bytes(data[:rng.integers(len(data) // 2, len(data))] if rng.random() < 0.3 else data)
        try:
            with open_video(path) as reader:
                frames = reader.get([len(reader) - 1, 0])
                assert len(reader) > 0
                assert frames.dtype == np.uint8
                assert frames.shape[0] == 2
        except VideoDecodeError as error:
            assert error.path == str(path)
