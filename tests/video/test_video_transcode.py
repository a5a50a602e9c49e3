"""A prepared video is the source, frame by frame, or it is not there at all."""

import resource
import signal
import time
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
from watermark import (
    HEIGHT,
    RECIPES,
    WIDTH,
    Recipe,
    copy_from_key_frame,
    draw,
    read_numbers,
    sequential,
    write_audio,
    write_video,
)

from fedvssl.errors import ConfigError, StorageError
from fedvssl.video import BackendUnavailableError, VideoDecodeError, open_video
from fedvssl.video.container import VideoFile
from fedvssl.video.transcoding.encoding import FORMATS, Encoding
from fedvssl.video.transcoding.shrinking import stored_size
from fedvssl.video.transcoding.transcode import transcode
from fedvssl.video.transcoding.transcode_pool import Job, TranscodePool
from fedvssl.video.transcoding.writing import _StreamWriter

SMALL = Encoding(short_side=48)
ENCODINGS = {'default': Encoding(), 'gop12': Encoding(gop=12), 'mjpeg': Encoding('mjpeg'),
             'jpeg-zip': Encoding('jpeg-zip')}


def run(source, target, encoding=SMALL):
    """Transcodes; returns the index."""
    steps = transcode(source, target, encoding)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def frames_of(path):
    with open_video(path) as reader:
        return np.asarray(reader.get(range(len(reader))))


def numbers_on(frames):
    """Numbers on frames of any size."""
    return read_numbers(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for frame in frames)


def packets_of(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def write_packed_xvid(path, source):
    """Does what XviD does in AVI: a B-picture travels in the packet of the one before it, then comes a dummy."""
    with av.open(str(source)) as old, av.open(str(path), 'w') as new:
        copy = new.add_stream('mpeg4', rate=25)
        copy.width, copy.height, copy.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        pictures = [bytes(packet) for packet in old.demux(video=0) if packet.size]
        kinds = [picture[picture.find(b'\0\0\1\xb6') + 4] >> 6 for picture in pictures]
        start = pictures[0].find(b'\0\0\1\xb3')
        pictures[0] = pictures[0][:start] + b'\0\0\1\xb2DivX503b1393p' + pictures[0][start:]
        place = 0
        while pictures:
            packed = len(kinds) > 1 and kinds[1] == 2
            for data in [b''.join(pictures[:2]), b'\0\0\1\xb6\x56\x9b\x9f'] if packed else pictures[:1]:
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts, packet.time_base = copy, place, place, Fraction(1, 25)
                packet.is_keyframe = data[data.find(b'\0\0\1\xb6') + 4] >> 6 == 0
                new.mux(packet)
                place += 1
            del pictures[:1 + packed], kinds[:1 + packed]
    return path


@pytest.fixture
def packed_xvid(tmp_path):
    options = {'qmin': '2', 'qmax': '3', 'bf': '1', 'b_strategy': '0', 'mpv_flags': '+strict_gop'}
    return write_packed_xvid(tmp_path / 'packed.avi', write_video(tmp_path / 'plain.avi',
                                                                 Recipe('.avi', 'mpeg4', frames=41, options=options)))


@pytest.mark.parametrize('name', ['h264_gop12', 'h264_open_gop', 'h264_intra_refresh', 'h264_ts', 'h264_vfr', 'hevc',
                                  'mpeg4_avi_b', 'mpeg4_mp4_b', 'mpeg2_ps', 'vp8_webm', 'mjpeg_avi'])
def test_frame_k_is_frame_k(name, video, tmp_path):
    index = run(video(name), tmp_path / 'small.mp4')
    frames = frames_of(tmp_path / 'small.mp4')
    assert frames.shape[1:] == (48, 96, 3)
    assert numbers_on(frames) == list(range(RECIPES[name].frames))
    assert index.every_frame_is_key and not index.counted


def test_what_an_edit_list_hides_is_gone(edit_list_video, tmp_path):
    run(edit_list_video, tmp_path / 'small.mp4')
    assert numbers_on(frames_of(tmp_path / 'small.mp4')) == list(range(17, 60))


def test_packed_xvid(packed_xvid, tmp_path):
    assert len(packets_of(packed_xvid)) == 41 and min(packet.size for packet in packets_of(packed_xvid)) == 7
    run(packed_xvid, tmp_path / 'small.mp4')
    assert numbers_on(frames_of(tmp_path / 'small.mp4')) == list(range(41))


@pytest.mark.parametrize('name', ENCODINGS)
def test_formats(name, video, tmp_path):
    encoding = ENCODINGS[name]
    target = tmp_path / f'small{encoding.suffix}'
    index = run(video('h264_gop12'), target, encoding)
    frames, source = frames_of(target), frames_of(video('h264_gop12'))
    assert frames.shape == source.shape  # not enlarged
    assert read_numbers(frames) == list(range(60))
    assert np.abs(frames - source.astype(int)).mean() < 6
    if name == 'jpeg-zip':
        assert index is None
        return
    packets = packets_of(target)
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    tick = 1 / packets[0].time_base / 25
    assert sorted(packet.pts for packet in packets) == [number * tick for number in range(60)]
    if name == 'gop12':
        assert keys[0] == 0 and all(0 < late - early <= 12 for early, late in pairwise([*keys, 60]))
        assert not index.open_gop and not index.counted
    else:
        assert keys == list(range(60)) and [packet.pts for packet in packets] == index.pts.tolist()


def test_a_zip_holds_plain_images(video, tmp_path):
    import zipfile

    target = tmp_path / 'small.zip'
    run(video('mpeg4_avi'), target, Encoding('jpeg-zip'))
    with zipfile.ZipFile(target) as file:
        members = file.infolist()
    assert [member.filename for member in members] == [f'{number:05d}.jpg' for number in range(60)]
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}


def test_the_same_video_gives_the_same_bytes(video, tmp_path):
    for name, encoding in ENCODINGS.items():
        both = [tmp_path / f'{name}{side}{encoding.suffix}' for side in 'ab']
        for target in both:
            run(video('mjpeg_avi'), target, encoding)
        assert both[0].read_bytes() == both[1].read_bytes()


@pytest.mark.parametrize('rotation', [90, 180, 270])
def test_rotated_videos_become_upright(rotation, tmp_path):
    recipe = Recipe('.mp4', 'libx264', frames=6, rotation=rotation)
    source = write_video(tmp_path / 'turned.mp4', recipe)
    run(source, tmp_path / 'small.mp4')
    frames = frames_of(tmp_path / 'small.mp4')
    assert frames.shape[1:] == (48, 96, 3) if rotation == 180 else (96, 48, 3)
    with av.open(str(tmp_path / 'small.mp4')) as container:
        assert next(container.decode(video=0)).rotation == 0
    turned = [np.rot90(frame, rotation // 90) for frame in (draw(number) for number in range(6))]
    large = [cv2.resize(frame, turned[0].shape[1::-1], interpolation=cv2.INTER_LINEAR) for frame in frames]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(large, turned, strict=True)) < 12


def write_raw(path, pictures, codec, pixel_format, **tags):
    """Writes RGB pictures without much loss."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size, stream.codec_context.thread_count = 1, 1
        stream.options = {'qmin': '1', 'qmax': '2'} if codec == 'mjpeg' else {'crf': '4'} if codec == 'libx264' else {}
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame = frame.reformat(format=pixel_format, dst_colorspace=tags.get('colorspace'),
                                   dst_color_range=tags.get('color_range'))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize('size', [(127, 63), (63, 127), (77, 51), (2, 2), (131, 2)])
def test_odd_sizes(size, tmp_path):
    """What does not shrink loses a row or column, and no pixel moves."""
    picture = cv2.resize(draw(5), size)
    source = write_raw(tmp_path / 'odd.avi', [picture] * 2, 'mjpeg', 'yuvj420p')
    for encoding in ENCODINGS.values():
        target = tmp_path / f'small{encoding.suffix}'
        run(source, target, encoding)
        frames, expected = frames_of(target), frames_of(source)[:, :size[1] // 2 * 2, :size[0] // 2 * 2]
        assert frames.shape == expected.shape
        assert np.abs(frames - expected.astype(int)).mean() < 8
    if min(size) > 48:
        run(source, tmp_path / 'small.mp4', SMALL)
        assert frames_of(tmp_path / 'small.mp4').shape[1:3] == stored_size(*size, 48)[::-1]


def test_no_pixel_moves_where_nothing_shrinks(tmp_path):
    stripes = np.zeros((63, 127, 3), np.uint8)
    stripes[:, ::2] = 255
    source = write_raw(tmp_path / 'stripes.avi', [stripes], 'mjpeg', 'yuvj420p')
    run(source, tmp_path / 'small.mp4', Encoding())
    assert np.abs(frames_of(tmp_path / 'small.mp4')[0].astype(int) - stripes[:62, :126]).mean() < 12


@pytest.mark.parametrize(('size', 'stored'), [
    ((340, 256), (192, 144)), ((256, 340), (144, 192)), ((320, 240), (192, 144)), ((1920, 1080), (256, 144)),
    ((144, 144), (144, 144)), ((145, 193), (144, 192)), ((120, 90), (120, 90)), ((2, 3000), (2, 3000)),
    ((100_000, 146), (98_630, 144)),
])
def test_sizes(size, stored):
    assert stored_size(*size, 144) == stored


def test_a_line_is_no_video():
    with pytest.raises(ValueError, match='1x500'):
        stored_size(1, 500, 144)


PATCHES = [(200, 40, 30), (40, 190, 60), (30, 60, 210), (230, 230, 230), (20, 20, 20), (220, 200, 40)]
SOURCES = {
    'limited': ('colours.mp4', 'libx264', 'yuv420p', {}),
    'full': ('colours.mp4', 'libx264', 'yuvj420p', {}),
    'full, 709': ('colours.mp4', 'libx264', 'yuvj420p', dict(colorspace=1)),
    'tagged 709': ('colours.mp4', 'libx264', 'yuv420p', dict(colorspace=1, color_primaries=1, color_trc=1)),
    '4:4:4': ('colours.mp4', 'libx264', 'yuv444p', {}),
    'jpeg': ('colours.avi', 'mjpeg', 'yuvj420p', {}),
    'RGB': ('colours.avi', 'png', 'rgb24', {}),
}


@pytest.mark.parametrize('name', SOURCES)
def test_colours_stay(name, tmp_path):
    """A reader shows the same colours, whatever range and matrix the source has and the format can state."""
    file, codec, pixel_format, tags = SOURCES[name]
    picture = np.repeat(np.repeat(np.array(PATCHES, np.uint8).reshape(2, 3, 3), 48, 0), 48, 1)
    source = write_raw(tmp_path / f'source_{file}', [picture] * 2, codec, pixel_format, **tags)
    shown = frames_of(source)[0]
    assert np.abs(patches(shown) - PATCHES).max() < 12
    for encoding in ENCODINGS.values():
        target = tmp_path / f'small{encoding.suffix}'
        run(source, target, Encoding(encoding.format, 72, encoding.gop))
        assert np.abs(patches(frames_of(target)[0]) - patches(shown)).max() < 4, encoding
    with av.open(str(tmp_path / 'small.mp4')) as container:
        assert next(container.decode(video=0)).format.name == 'yuv420p'


def patches(frame):
    """Mean colours of the middles of the six patches."""
    side = frame.shape[0] // 2
    return np.array([frame[row * side + side // 4:(row + 1) * side - side // 4,
                           column * side + side // 4:(column + 1) * side - side // 4].mean((0, 1))
                     for row in range(2) for column in range(3)])


@pytest.mark.parametrize(('suffix', 'times', 'rate'), [
    ('.mp4', lambda number: number, 25), ('.mp4', lambda number: number * 5 // 2, 10),
    ('.mkv', lambda number: number, 25), ('.avi', lambda number: number, 25),
])
def test_the_average_rate_stays(suffix, times, rate, tmp_path):
    source = write_video(tmp_path / f'source{suffix}', Recipe(suffix, 'libx264', frames=41, times=times))
    run(source, tmp_path / 'small.mp4')
    with av.open(str(tmp_path / 'small.mp4')) as container:
        assert abs(container.streams.video[0].average_rate - rate) < 0.01
        assert not container.streams.audio


def write_images(folder, pictures):
    folder.mkdir()
    for number, picture in enumerate(pictures, 1):
        cv2.imwrite(str(folder / f'img_{number:05d}.png'), picture[..., ::-1])
    return folder


def test_a_folder_of_images(tmp_path):
    source = write_images(tmp_path / 'images', [draw(number) for number in range(7)])
    for encoding in ENCODINGS.values():
        run(source, tmp_path / f'small{encoding.suffix}', encoding)
        assert read_numbers(frames_of(tmp_path / f'small{encoding.suffix}')) == list(range(7))
    with av.open(str(tmp_path / 'small.mp4')) as container:
        assert container.streams.video[0].average_rate == 25


def write_damaged(path, source, first, last):
    """Copies a video and overwrites the second halves of some packets."""
    data = bytearray(source.read_bytes())
    for packet in packets_of(source)[first:last + 1]:
        data[packet.pos + packet.size // 2:packet.pos + packet.size] = b'\xff' * (packet.size - packet.size // 2)
    path.write_bytes(data)


def test_bad_sources_leave_nothing_behind(video, tmp_path):
    write_damaged(tmp_path / 'patched.mp4', video('h264_gop12'), 24, 24)
    write_damaged(tmp_path / 'broken.mp4', video('mpeg4_mp4_b'), 24, 24)
    (tmp_path / 'empty.mp4').touch()
    write_audio(tmp_path / 'audio.mp4')
    write_images(tmp_path / 'mixed', [draw(0), draw(1)[:32]])
    write_images(tmp_path / 'narrow', [draw(0)[:, :1]])
    reasons = {'patched.mp4': 'frame 24 of 60 is damaged', 'empty.mp4': 'empty', 'audio.mp4': 'no video stream',
               'broken.mp4': 'of 60 frames come out of the decoder, then InvalidDataError',
               'missing.mp4': 'no such file', 'mixed': 'frame 1 is 128x32, the first one 128x64',
               'narrow': 'too narrow'}
    for name, reason in reasons.items():
        target = tmp_path / f'{name}.small.mp4'
        with pytest.raises(VideoDecodeError, match=reason) as caught:
            run(tmp_path / name, target)
        assert caught.value.path == str(tmp_path / name) and '\n' not in caught.value.reason
        assert not target.exists()


def test_concealed_damage_is_refused(video, tmp_path):
    """A stream that was cut out of a longer one has to be decoded tolerantly; the decoder marks what it patched."""
    cut = copy_from_key_frame(video('h264_intra_refresh'), tmp_path / 'cut.mp4', 1)
    run(cut, tmp_path / 'small.mp4')
    write_damaged(tmp_path / 'damaged.mp4', cut, 25, 30)
    with pytest.raises(VideoDecodeError, match=r'frame \d+ of \d+ is damaged'):
        run(tmp_path / 'damaged.mp4', tmp_path / 'small.mp4')


@pytest.mark.parametrize(('change', 'message'), [
    (lambda frames: frames[:-1], 'only 59 of 60 frames come out of the decoder'),
    (lambda frames: [frames[1], frames[0], *frames[2:]], 'frame 0 of 60 comes out of the decoder out of order'),
    (lambda frames: frames[:30] + frames[31:], 'frame 30 of 60 comes out of the decoder out of order'),
])
def test_lost_frames_are_noticed(change, message, video, tmp_path, monkeypatch):
    whole = VideoFile.frames
    monkeypatch.setattr(VideoFile, 'frames', lambda *arguments: iter(change(list(whole(*arguments)))))
    with pytest.raises(VideoDecodeError, match=message):
        run(video('h264_gop12'), tmp_path / 'small.mp4')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('fault', 'message'), [
    (lambda number: [number] if number else [], 'has 59 frames instead of 60'),
    (lambda number: [0], r'shows something else in frame 30 \(mean difference'),
])
def test_what_was_written_is_read_back(fault, message, video, tmp_path, monkeypatch):
    """A writer that loses a frame, or writes other pictures than it is given, is found out."""
    add, given = _StreamWriter.add, []

    def add_wrongly(self, frame):
        given.append(frame)
        for number in fault(len(given) - 1):
            add(self, given[number])

    monkeypatch.setattr(_StreamWriter, 'add', add_wrongly)
    with pytest.raises(VideoDecodeError, match=message):
        run(video('h264_gop12'), tmp_path / 'small.mp4')
    assert list(tmp_path.iterdir()) == []


@contextmanager
def full_disk(size):
    """Lets no file grow beyond a size, as a disk does that gets full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize('name', ENCODINGS)
def test_a_full_disk(name, video, tmp_path):
    target = tmp_path / f'small{ENCODINGS[name].suffix}'
    with full_disk(2_000), pytest.raises(StorageError, match='File too large'):
        run(video('h264_gop12'), target, ENCODINGS[name])
    assert not target.exists()


def test_a_place_that_is_not_there(video, tmp_path):
    with pytest.raises(StorageError, match='no/where'):
        run(video('h264_gop12'), tmp_path / 'no/where/small.mp4')


@pytest.mark.parametrize(('options', 'message'), [
    (dict(format='h265'), "--format h265: no such format; did you mean 'h264'"), (dict(short_side=143), 'even number'),
    (dict(short_side=0), '--short-side 0'), (dict(gop=0), '--gop 0'), (dict(format='mjpeg', gop=12), '--gop 12'),
    (dict(quality=52), '--quality 52: must be from 1 to 51 for h264'),
    (dict(format='jpeg-zip', quality=101), '--quality 101'), (dict(quality=0), '--quality 0'),
])
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        Encoding(**options)


def test_defaults():
    assert {name: Encoding(name).quality for name in FORMATS} == {'h264': 20, 'mjpeg': 3, 'jpeg-zip': 90}


def test_real_clips_are_as_small_and_as_good_as_promised(real_videos, tmp_path):
    """Against areas of the decoded frames; brightness only, since colours are stored at half the resolution."""
    source = real_videos / 'singles/mmaction2_test.mp4'
    for encoding, share in ((Encoding(), 0.8), (Encoding(gop=12), 0.4)):
        target = tmp_path / 'small.mp4'
        started = time.process_time()
        index = run(source, target, encoding)
        assert time.process_time() - started < 1.5  # 0.35 s on a core of its own
        assert (index.frames, index.width, index.height) == (300, 192, 144)
        assert target.stat().st_size < share * source.stat().st_size
        errors = [((cv2.resize(grey(large), (192, 144), interpolation=cv2.INTER_AREA) - grey(small)) ** 2).mean()
                  for large, small in zip(*(decoded(path) for path in (source, target)), strict=True)]
        assert 10 * np.log10(255 ** 2 / np.mean(errors)) > 37


def decoded(path):
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def grey(frame):
    return frame.to_ndarray()[:frame.height].astype(np.float32)


def test_a_real_xvid(real_videos, tmp_path):
    """Packed, with pictures that were not coded: each frame is nearer to its own than to those around it."""
    source = real_videos / 'singles/v_HorseRace_g01_c04.avi'
    run(source, tmp_path / 'small.mp4', Encoding())
    large = [cv2.resize(frame, (192, 144), interpolation=cv2.INTER_AREA).astype(int)
             for frame in sequential(source).values()]
    small = frames_of(tmp_path / 'small.mp4')
    assert len(small) == len(large) == 169
    moving = [number for number in range(1, 168) if np.abs(large[number] - large[number - 1]).mean() > 1.5
              and np.abs(large[number] - large[number + 1]).mean() > 1.5]
    assert len(moving) > 20
    for number in moving:
        apart = [np.abs(small[number] - large[number + step]).mean() for step in (-1, 0, 1)]
        assert apart[1] == min(apart)


CHILD = """
import os, signal, time
from fedvssl.errors import StorageError
from fedvssl.video.transcoding import transcode_child
from fedvssl.video.processes.serve import serve

real = transcode_child.transcode

def transcode(source, target, encoding):
    if 'slow' in source.name:
        for done in range(100):
            time.sleep(0.2)
            yield done, 3
    if 'late' in source.name:
        yield 0, 10
        target.write_bytes(b'half')
        time.sleep(1000)
    if 'crash' in source.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if 'full' in source.name:
        raise StorageError('no room')
    if 'odd' in source.name:
        raise RuntimeError('what is this')
    return (yield from real(source, target, encoding))

transcode_child.transcode = transcode
transcode_child._SECONDS_AT_A_TIME = 0.1
serve(transcode_child.Worker().answer)
"""


@pytest.fixture
def bad_child(tmp_path, monkeypatch):
    """Name of a module for children that meet files on which a decoder hangs or dies."""
    (tmp_path / 'modules').mkdir()
    (tmp_path / 'modules/bad_transcoder.py').write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path / 'modules')
    return 'bad_transcoder'


def jobs(tmp_path, *sources):
    return [Job(source, tmp_path / f'{number}.mp4', 0) for number, source in enumerate(sources)]


def test_files_that_hang_or_kill_the_decoder(bad_child, video, tmp_path):
    good, names = video('mjpeg_avi'), ('late.mp4', 'crash.mp4', 'slow.mp4', 'odd.mp4', 'missing.mp4')
    all_jobs = jobs(tmp_path, *(tmp_path / name for name in names), good)
    done = dict(TranscodePool(SMALL, 2, 1.0, bad_child).run(all_jobs))
    assert list(done) != all_jobs and set(done) == set(all_jobs)
    late, crash, slow, odd, missing = (done[job].refused for job in all_jobs[:-1])
    assert 'no answer within 1 s' in late and 'SIGSEGV' in crash and 'RuntimeError: what is this' in odd
    assert 'of 3 frames done after 2 s; the decoder was killed' in slow  # a second, and half a one for each frame
    assert missing == 'no such file'
    outcome = done[all_jobs[-1]]
    assert (outcome.refused, outcome.frames) == ('', 20) and outcome.cpu > 0
    assert outcome.index.every_frame_is_key and outcome.index.frames == 20
    assert sorted(path.name for path in tmp_path.glob('*.mp4')) == ['5.mp4']


def test_a_full_disk_and_a_missing_encoder_end_everything(bad_child, video, tmp_path, monkeypatch):
    with pytest.raises(StorageError, match='no room'):
        list(TranscodePool(SMALL, 1, 20, bad_child).run(jobs(tmp_path, tmp_path / 'full.mp4', video('mjpeg_avi'))))
    assert not list(tmp_path.glob('*.mp4'))
    monkeypatch.setattr(av, 'codecs_available', set())
    with pytest.raises(BackendUnavailableError, match='no encoder libx264'):
        run(video('mjpeg_avi'), tmp_path / 'small.mp4')


def test_a_pool_that_is_stopped_waits_for_nobody(bad_child, video, tmp_path):
    begun = time.monotonic()
    with closing(TranscodePool(SMALL, 2, 300, bad_child).run(
            jobs(tmp_path, video('mjpeg_avi'), tmp_path / 'late.mp4'))) as results:
        job, _ = next(results)
    assert job.source == video('mjpeg_avi')
    assert time.monotonic() - begun < 120
    assert not (tmp_path / '1.mp4').exists()


def test_jobs_are_taken_as_they_are_needed(video, tmp_path):
    """A set of a million videos does not wait in memory."""
    taken = []

    def many():
        for number in range(1_000_000):
            taken.append(number)
            yield Job(tmp_path / 'missing.mp4', tmp_path / 'small.mp4', 0)

    with closing(TranscodePool(SMALL, 2, 20).run(many())) as results:
        for _ in range(3):
            next(results)
    assert len(taken) < 12
