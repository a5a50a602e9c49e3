"""Folders and zips of images: which frame it is, its pixels, and what is refused."""

import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedvssl.video import VideoDecodeError, open_video
from fedvssl.video.readers.images import MOST_IMAGE_BYTES, in_order
from fedvssl.video.readers.zips import MOST_DIRECTORY_BYTES

HEIGHT, WIDTH = 32, 48
ORIENTATION_6 = (b'Exif\0\0II*\0' + struct.pack('<LH', 8, 1) + struct.pack('<HHLHH', 0x112, 3, 1, 6, 0) + bytes(4))
BACKENDS = ['frames', 'zip-jpeg']


def picture(number, height=HEIGHT, width=WIDTH):
    """A smooth picture (H, W, 3) in RGB that tells its number."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 7 + number * 20, columns * 5, rows + columns + number], -1).astype(np.uint8)


def encoded(number, suffix='.jpg', *options):
    return cv2.imencode(suffix, picture(number)[..., ::-1], options)[1].tobytes()


def decoded(data):
    """The second implementation: OpenCV's plain decoding."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def store(path, images, method=zipfile.ZIP_STORED):
    """Writes images (name -> bytes) as a zip or, without that suffix, as a folder."""
    if path.suffix != '.zip':
        path.mkdir()
        for name, data in images.items():
            (path / name).write_bytes(data)
    else:
        with zipfile.ZipFile(path, 'w', method) as file:
            for name, data in images.items():
                file.writestr(name, data)
    return path


@pytest.fixture(params=BACKENDS)
def stored(request, tmp_path):
    """Stores images as a folder and as a zip."""
    return lambda images: store(tmp_path / ('clip.zip' if request.param == 'zip-jpeg' else 'clip'), images)


def refused(path, match, indices=(0,), backend='auto'):
    with pytest.raises(VideoDecodeError, match=match) as caught, open_video(path, backend) as reader:
        reader.get(indices)
    assert caught.value.path == str(path)
    return caught.value


def patched(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def test_png_frames_are_exact(stored):
    path = stored({f'frame_{number:06d}.PNG': encoded(number, '.png') for number in range(12)})
    with open_video(path) as reader:
        assert len(reader) == 12
        assert reader.backend == ('zip-jpeg' if path.suffix else 'frames')
        frames = reader.get([11, 0, 3, 0])
    assert frames.dtype == np.uint8
    for frame, number in zip(frames, [11, 0, 3, 0], strict=True):
        assert np.array_equal(frame, picture(number))


@pytest.mark.parametrize('progressive', [0, 1])
def test_jpeg_frames_are_opencvs(progressive, stored):
    images = {f'img_{number:05d}.jpg': encoded(number, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
              for number in range(1, 8)}
    with open_video(stored(images)) as reader:
        frames = reader.get(range(7))
    for frame, data in zip(frames, images.values(), strict=True):
        assert np.array_equal(frame, decoded(data))
    assert np.abs(frames[3].astype(int) - picture(4)).mean() < 12  # and its channels are not swapped


def test_a_folder_and_a_zip_give_equal_frames(tmp_path):
    images = {f'{number:04d}.jpeg': encoded(number) for number in range(1, 31)}
    shuffled = dict(sorted(images.items(), key=lambda item: zlib.crc32(item[1])))
    paths = [store(tmp_path / 'clip', images), store(tmp_path / 'deflated.zip', shuffled, zipfile.ZIP_DEFLATED),
             store(tmp_path / 'stored.zip', shuffled).rename(tmp_path / 'stored.ZIP')]
    frames = []
    for path in paths:
        with open_video(path) as reader:
            frames.append(reader.get(range(30)))
    assert all(np.array_equal(frames[0], other) for other in frames[1:])


def test_frames_are_ordered_by_number(stored):
    with open_video(stored({f'img_{number}.png': encoded(number, '.png') for number in range(1, 13)})) as reader:
        frames = reader.get([1, 9])
    assert np.array_equal(frames, np.stack([picture(2), picture(10)]))


def test_one_frame_is_a_video(stored):
    with open_video(stored({'0.png': encoded(5, '.png')})) as reader:
        assert len(reader) == 1
        assert np.array_equal(reader.get([0])[0], picture(5))


def test_members_may_lie_in_a_folder_and_have_any_name(tmp_path):
    for number, folder in enumerate(('clip 1/', '/etc/', '../../', 'a//./b/')):
        images = {f'{folder}img_{image:05d}.png': encoded(image, '.png') for image in (1, 2)}
        clutter = {folder: b'', f'__MACOSX/{folder}._img_00001.png': b'x', f'{folder}._img_00001.png': b'x'}
        with open_video(store(tmp_path / f'{number}.zip', images | clutter)) as reader:
            assert np.array_equal(reader.get([0, 1]), np.stack([picture(1), picture(2)]))


def test_what_is_no_frame_is_ignored(stored):
    frames = {f'img_{number:05d}.png': encoded(number, '.png') for number in (1, 2)}
    clutter = ['Thumbs.db', 'notes.txt', '.img_00003.png', '._img_00001.png', 'flow_x_00001.jpg', 'flow_y_00001.jpg',
               'flow_x.jpg', 'img_00003.png.part', 'jpg']
    path = stored(frames | dict.fromkeys(clutter, b'no picture'))
    if path.is_dir():
        (path / 'more').mkdir()
    with open_video(path) as reader:
        assert len(reader) == 2
        assert np.array_equal(reader.get([1])[0], picture(2))


@pytest.mark.parametrize(('names', 'message'), [
    (['img_00007.jpg', 'img_00009.jpg', 'img_00001.jpg'], 'from 1 to 7: img_00002 is missing'),
    ([f'img_{number:05d}.jpg' for number in (*range(1, 8), 9)], 'jump from 7 to 9: img_00008 is missing'),
    ([f'{number}.jpg' for number in (8, 9, 11)], 'jump from 9 to 11: 10 is missing'),
    (['img_2.jpg', 'img_3.jpg'], 'start at 2: img_1 is missing'),
    (['img_1.jpg', 'img_2.jpg', 'img_02.jpg'], 'number 2: img_02.jpg and img_2.jpg'),
    (['img_1.jpg', 'img_1.png'], 'number 1: img_1.jpg and img_1.png'),
    (['img_1.jpg', 'frame_2.jpg'], 'different series: img_1.jpg and frame_2.jpg'),
    (['a/img_1.jpg', 'b/img_1.jpg'], 'different series: a/img_1.jpg and b/img_1.jpg'),
    (['flow_x_1.jpg', 'flow_y_1.jpg'], 'different series'),
    (['img_1.jpg', 'cover.jpg'], 'cover.jpg has no number'),
    (['img_1.jpg', 'img_1 (1).jpg'], r'img_1 \(1\).jpg has no number'),
    (['notes.txt', '.img_1.jpg'], 'no .jpg, .jpeg or .png images'), ([], 'no .jpg')])
def test_numbers_that_are_not_whole(names, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        in_order(names)
    error = refused(store(tmp_path / 'clip.zip', dict.fromkeys(names, encoded(0))), message)
    assert error.backend == 'zip-jpeg'
    if all('/' not in name for name in names):
        assert refused(store(tmp_path / 'clip', dict.fromkeys(names, encoded(0))), message).backend == 'frames'


def test_long_names_cost_no_time():
    for name in ('1' * 65000, '1a' * 32000, 'flow_' * 13000, '.jpg' * 16000 + 'x', '/' * 65000):
        assert in_order(['1.jpg', name]) == ['1.jpg']


def test_only_what_is_asked_for_is_read(stored, monkeypatch):
    with open_video(stored({f'{number}.jpg': encoded(number) for number in range(5)} | {'5.jpg': b'broken'})) as reader:
        names, read = [], reader._read
        monkeypatch.setattr(reader, '_read', lambda name: names.append(name) or read(name))
        reader.get([4, 1, 1])
        assert names == [1, 4]
        with pytest.raises(VideoDecodeError, match='5.jpg: neither JPEG nor PNG'):
            reader.get([1, 5])


def test_every_kind_of_picture_becomes_rgb(stored):
    grey = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
    kinds = [grey, deep, np.dstack([picture(0)[..., ::-1], grey])]
    with open_video(stored({f'{number}.png': cv2.imencode('.png', kind)[1].tobytes()
                            for number, kind in enumerate(kinds)})) as reader:
        frames = reader.get([0, 1, 2])
    assert np.array_equal(frames[0], grey[..., None].repeat(3, -1))
    assert np.array_equal(frames[1], (deep >> 8).astype(np.uint8)[..., ::-1])
    assert np.array_equal(frames[2], picture(0))


def test_an_orientation_is_applied_as_opencv_does(stored):
    jpeg = encoded(3)
    turned = jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(ORIENTATION_6) + 2) + ORIENTATION_6 + jpeg[2:]
    with open_video(stored({'1.jpg': turned})) as reader:
        assert np.array_equal(reader.get([0])[0], np.rot90(decoded(jpeg), -1))


@pytest.mark.parametrize('progressive', [0, 1])
def test_a_jpeg_that_was_cut_is_refused(progressive, stored):
    """Whether its end is missing or was never written; padding behind its end is no damage."""
    jpeg = encoded(1, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    cuts = range(1, len(jpeg), 7)
    images = [jpeg[:cut] for cut in cuts] + [jpeg[:cut] + bytes(len(jpeg) - cut) for cut in cuts] + [b'']
    with open_video(stored({f'{number}.jpg': image for number, image in enumerate([*images, jpeg + bytes(99)])})) as it:
        for number in range(len(images)):
            with pytest.raises(VideoDecodeError, match=f'{number}.jpg: (the JPEG breaks off|neither JPEG nor PNG)'):
                it.get([number])
        assert np.array_equal(it.get([len(images)])[0], decoded(jpeg))


def test_a_damaged_png_is_refused(tmp_path):
    png, random = encoded(1, '.png'), np.random.default_rng(4)
    images = [png[:cut] for cut in range(0, len(png), 9)]
    for place in random.integers(0, len(png), 200):
        image = bytearray(png)
        image[place] ^= 1 << random.integers(8)
        images.append(bytes(image))
    path = store(tmp_path / 'clip', {f'{number}.png': image for number, image in enumerate(images)})
    with open_video(path) as reader:
        for number in range(len(images)):
            with pytest.raises(VideoDecodeError, match=f'{number}.png: '):
                reader.get([number])


def test_bit_rot_is_refused_or_a_picture_but_nothing_else(stored):
    """JPEG has no checksum; a zip has."""
    random, images = np.random.default_rng(7), {}
    for number in range(200):
        data = bytearray(encoded(number))
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        images[f'{number}.jpg'] = bytes(data)
    path = stored({name: encoded(number) for number, name in enumerate(images)})
    if path.suffix:
        content = path.read_bytes()
        for number, image in enumerate(images.values()):
            content = content.replace(encoded(number), image, 1)
        path.write_bytes(content)
    else:
        for name, image in images.items():
            (path / name).write_bytes(image)
    pictures = 0
    with open_video(path) as reader:
        for number in range(200):
            try:
                pictures += reader.get([number]).shape[0]
            except VideoDecodeError as error:
                assert f'{number}.jpg' in error.reason
    assert pictures == 0 if path.suffix else pictures > 0


def test_frames_of_different_sizes_are_refused(stored):
    other = cv2.imencode('.png', picture(2, 20, 30))[1].tobytes()
    path = stored({'img_1.jpg': encoded(1), 'img_2.jpg': other})
    refused(path, 'img_2.jpg: frames of different sizes: 48x32 and 30x20', [0, 1])


def test_pictures_of_too_many_pixels_are_not_decoded(stored, monkeypatch):
    png, jpeg = encoded(0, '.png'), encoded(0)
    start = jpeg.index(b'\xff\xc0') + 5
    path = stored({'0.png': png[:16] + struct.pack('>LL', 30000, 20000) + png[24:],
                   '1.jpg': jpeg[:start] + struct.pack('>HH', 65000, 64000) + jpeg[start + 4:],
                   '2.jpg': jpeg[:2] + b'\xff\xfe\0\2' * 1000 + jpeg[2:]})
    monkeypatch.setattr(cv2, 'imdecode', None)
    refused(path, '0.png: 30000x20000 are more than 33554432 pixels', [0])
    refused(path, '1.jpg: 64000x65000 are more', [1])
    refused(path, '2.jpg: a JPEG of more than 512 segments', [2])


@pytest.mark.parametrize('content', [b'GIF89a' + bytes(99), b'RIFF\x10\0\0\0WEBPVP8 ', b'\x89PNG\r\n\x1a\n',
                                     b'\xff\xd8'])
def test_only_jpeg_and_png_reach_opencv(content, stored):
    refused(stored({'1.jpg': content}), '1.jpg: neither JPEG nor PNG')


def links_out(path, outside):
    path.symlink_to(outside)


def links_nowhere(path, outside):
    path.symlink_to('nowhere')


def is_a_fifo(path, outside):
    os.mkfifo(path)


def is_a_folder(path, outside):
    path.mkdir()


def links_to_a_device(path, outside):
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('make', [links_out, links_nowhere, is_a_fifo, is_a_folder, links_to_a_device])
def test_only_regular_files_of_the_folder_are_read(make, late, tmp_path):
    """Not even when a frame turns into something else after the folder has been listed."""
    path = store(tmp_path / 'clip', {f'img_{number}.jpg': encoded(number) for number in (1, 2, 3)})
    outside = tmp_path / 'secret.jpg'
    outside.write_bytes(encoded(4))
    if not late:
        (path / 'img_3.jpg').unlink()
        make(path / 'img_3.jpg', outside)
        refused(path, 'img_3.jpg is not a regular file')
        return
    with open_video(path) as reader:
        (path / 'img_3.jpg').unlink()
        make(path / 'img_3.jpg', outside)
        assert reader.get([0, 1]).shape == (2, HEIGHT, WIDTH, 3)
        with pytest.raises(VideoDecodeError, match='img_3.jpg: ' + ('not a regular' if make is is_a_fifo else '')):
            reader.get([2])


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    store(tmp_path / 'clip', {'1.png': encoded(1, '.png')})
    (tmp_path / 'linked').symlink_to('clip')
    with open_video(tmp_path / 'linked') as reader:
        assert np.array_equal(reader.get([0])[0], picture(1))


def test_a_huge_file_is_not_read(tmp_path):
    path = store(tmp_path / 'clip', {'1.jpg': b''})
    os.truncate(path / '1.jpg', MOST_IMAGE_BYTES + 1)
    refused(path, f'1.jpg: an image of {MOST_IMAGE_BYTES + 1} bytes')


def test_what_is_not_a_zip(tmp_path):
    whole = store(tmp_path / 'whole.zip', {f'{number}.jpg': encoded(number) for number in range(3)}).read_bytes()
    path = tmp_path / 'clip.zip'
    refused(path, 'no such file')
    for content, message in ((b'', 'the file is empty'), (b'no zip' * 99, 'not a zip'), (whole[:-30], 'not a zip'),
                             (whole[:len(whole) // 2], 'not a zip'), (whole[len(whole) // 2:], '0.jpg: ')):
        path.write_bytes(content)
        refused(path, message)
    path.unlink()
    os.mkfifo(path)
    refused(path, 'not a regular file')


def test_members_that_cannot_be_read_are_named(tmp_path):
    def encrypt(data):
        for signature, offset in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
            data[data.rindex(signature) + offset] |= 1

    def damage(data):
        data[data.rindex(b'\xff\xd9')] ^= 1

    def rename(data):
        data[data.rindex(b'PK\3\4') + 30] ^= 1

    images = {f'{number}.jpg': encoded(number) for number in range(3)}
    for change, message in ((encrypt, 'encrypted'), (damage, 'Bad CRC-32'), (rename, 'differ')):
        path = patched(store(tmp_path / f'{change.__name__}.zip', images), change)
        refused(path, f"2.jpg.*{message}", [0, 2])
        with open_video(path) as reader:
            assert reader.get([0, 1]).shape[0] == 2
    path = store(tmp_path / 'packed.zip', images, zipfile.ZIP_LZMA)
    refused(path, '1.jpg: packed by method 14', [1])


def test_a_name_that_is_there_twice(tmp_path):
    path = store(tmp_path / 'clip.zip', {'1.jpg': encoded(1), '2.jpg': encoded(2), '3.jpg': encoded(3)})
    path.write_bytes(path.read_bytes().replace(b'3.jpg', b'2.jpg'))
    refused(path, 'two images have the number 2: 2.jpg and 2.jpg')


def test_zip_bombs_stay_small(tmp_path):
    bomb = {'0.jpg': bytes(MOST_IMAGE_BYTES + 1)}
    path = store(tmp_path / 'declared.zip', bomb, zipfile.ZIP_DEFLATED)
    liar = shutil.copy(path, tmp_path / 'liar.zip')
    patched(liar, lambda data: data.__setitem__(slice(data.rindex(b'PK\1\2') + 24, data.rindex(b'PK\1\2') + 28),
                                                struct.pack('<L', 1000)))
    tracemalloc.start()
    refused(path, f'0.jpg: an image of {MOST_IMAGE_BYTES + 1} bytes')
    refused(liar, '0.jpg: BadZipFile: Bad CRC-32')
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_million_members_are_not_listed(tmp_path):
    entry = struct.pack('<4s6H3L5H2L', b'PK\1\2', *[0] * 9, 9, *[0] * 6) + b'00001.jpg'
    size = 1_000_000 * len(entry)
    assert size > MOST_DIRECTORY_BYTES
    path = tmp_path / 'clip.zip'
    with path.open('wb') as file:
        for _ in range(1000):
            file.write(entry * 1000)
        file.write(struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 0, 0, size, 0, 0))
    tracemalloc.start()
    refused(path, f'a table of contents of {size} bytes')
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize('backend', ['pyav', 'decord'])
def test_other_backends_point_to_auto(backend, stored):
    if backend == 'decord':
        pytest.importorskip('decord', reason='decord is not installed')
    path = stored({f'{number}.jpg': encoded(number) for number in range(3)})
    fitting = 'zip-jpeg' if path.suffix else 'frames'
    assert refused(path, f"backend 'auto' would take '{fitting}'", backend=backend).backend == backend


def test_backends_are_for_what_they_are_for(video, stored):
    path = stored({'1.jpg': encoded(1)})
    other, message = ('frames', 'NotADirectoryError') if path.suffix else ('zip-jpeg', 'a directory')
    refused(path, f'{message}.* would take', backend=other)
    refused(video('h264_gop12'), 'NotADirectoryError', backend='frames')
    refused(video('h264_gop12'), 'not a zip', backend='zip-jpeg')
    with open_video(video('h264_gop12'), 'pyav') as reader:
        assert len(reader) == 60


def test_no_descriptor_is_left_open(stored):
    good = stored({f'{number}.jpg': encoded(number) for number in range(2)})
    bad = store(good.with_name('bad' + good.suffix), {'1.jpg': b'', '3.jpg': b''})
    before = len(os.listdir('/proc/self/fd'))  # noqa: PTH208
    for number in range(2000):
        reader = open_video(good)
        if number % 10 == 0:
            reader.get([1])
        reader.close()
        with pytest.raises(VideoDecodeError, match='jump'):
            open_video(bad)
    assert len(os.listdir('/proc/self/fd')) <= before  # noqa: PTH208
    with pytest.raises(VideoDecodeError, match='closed'):
        reader.get([0])


def test_real_folders(real_videos, tmp_path):
    folders = [path for pattern in ('raivokoot_demo/*/*', 'jester/*/*')
               for path in sorted((real_videos.parent / 'frames').glob(pattern)) if path.is_dir()]
    assert len(folders) >= 6
    for number, folder in enumerate(folders):
        files = sorted(folder.glob('*.jpg'))
        packed = store(tmp_path / f'{number}.zip', {f'x/{file.name}': file.read_bytes() for file in files})
        for path in (folder, packed):
            with open_video(path) as reader:
                assert len(reader) == len(files)
                wanted = [len(files) - 1, 0, 7]
                for frame, file in zip(reader.get(wanted), [files[index] for index in wanted], strict=True):
                    assert np.array_equal(frame, decoded(Path(file).read_bytes()))
