"""A set that was prepared is the set it was made of, whatever happened on the way."""

import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from official_lists import rows_of, touch

from fedvssl.cli import run_tool
from fedvssl.data.annotations import read_annotations
from fedvssl.data.prepare.tally import Tally, bytes_text, time_text
from fedvssl.data.prepare.video_lists import VideoList, find_lists, write_list_of_directories
from fedvssl.data.prepare.video_record import RECORD_FILE
from fedvssl.data.prepare.video_sources import check_directories, names_below, targets
from fedvssl.data.prepare.video_store import Store
from fedvssl.data.prepare.videos import Preparation, _spread
from fedvssl.errors import BadVideosError, ConfigError, DataListError, StorageError
from fedvssl.video import open_video
from fedvssl.video.index import FrameIndex
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.transcoding.encoding import Encoding

SCRIPT = Path(__file__).parents[3] / 'scripts/prepare_videos.py'
SMALL = Encoding(short_side=16)


def write_clip(file: Path, frames: int = 4, seed: int = 0, size: int = 32) -> Path:
    """Writes a video of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with av.open(str(file), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = size, size, 'yuv420p'
        stream.codec_context.thread_count = 1
        for _ in range(frames):
            picture = random.integers(0, 256, (size, size, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode(None))
    return file


@pytest.fixture
def source(tmp_path):
    """Directory of four videos of two classes."""
    for number, name in enumerate(('walk/a.avi', 'walk/b c.mp4', 'fall/a.avi', 'fall/d.mkv')):
        write_clip(tmp_path / 'src' / name, 4 + number, number)
    return tmp_path / 'src'


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def prepare(source, out, encoding=SMALL, lists=(), workers=1):
    """Prepares in this process; returns what was said, and the preparation."""
    preparation = Preparation(source, out, encoding, find_lists(lists, source, ''), workers)
    with preparation.workplace() as place:
        said = preparation.estimate(place)
        preparation.run(place)
    return [*said, *preparation.finish()], preparation


def files_in(out):
    """Paths of everything below a directory, without what is hidden."""
    assert not (out / '.preparing').exists()
    return sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()
                  and path.name not in ('.frame-index.sqlite', RECORD_FILE))


def forbid_decoding(monkeypatch):
    monkeypatch.setattr('fedvssl.video.processes.child.ChildProcess.request',
                        lambda *arguments: pytest.fail('a file was opened'))


def test_directories_are_classes(source, out):
    said, _ = prepare(source, out, workers=2)
    names = ['fall/a.mp4', 'fall/d.mp4', 'walk/a.mp4', 'walk/b c.mp4']
    assert files_in(out) == ['annotations.csv', *names]
    assert [tuple(row.values()) for row in rows_of(out / 'annotations.csv')] == [
        ('fall/a.mp4', '0', 'fall'), ('fall/d.mp4', '0', 'fall'), ('walk/a.mp4', '1', 'walk'),
        ('walk/b c.mp4', '1', 'walk')]
    for name, frames in zip(names, (6, 7, 4, 5), strict=True):
        with open_video(out / name) as reader:
            assert len(reader) == frames and reader.get([0]).shape == (1, 16, 16, 3)
    assert said[0].startswith('4 videos: 0 done, 4 to do (') and 'estimate for all, from 4 of them: ' in said[1]
    assert f'{out}: 4 videos prepared, 0 of them before; ' in '\n'.join(said)
    assert said[-1] == f'--cfg-options data.root={out} data.annotations=annotations.csv'


def test_no_reader_has_to_make_an_index(source, out, monkeypatch):
    prepare(source, out)
    indices = IndexCache(out)
    assert indices.get(out / 'walk/b c.mp4', FrameIndex).every_frame_is_key
    monkeypatch.setattr('fedvssl.video.readers.pyav.build_index', lambda video: pytest.fail('an index was made'))
    with open_video(out / 'walk/b c.mp4', 'pyav', indices=indices) as reader:
        assert len(reader) == 5


def test_a_list_keeps_everything_but_the_names(source, out):
    (source / 'annotations.csv').write_text('site,path,label,split\nw3,./walk/a.avi,walk,train\n'
                                            'w4,fall/a.avi,fall,test\nw3,walk/gone.avi,walk,train\n')
    said, preparation = prepare(source, out)
    assert rows_of(out / 'annotations.csv') == [
        {'path': 'walk/a.mp4', 'label': 'walk', 'site': 'w3', 'split': 'train'},
        {'path': 'fall/a.mp4', 'label': 'fall', 'site': 'w4', 'split': 'test'}]
    assert files_in(out) == ['annotations.csv', 'bad_videos.csv', 'fall/a.mp4', 'walk/a.mp4']  # no others
    assert rows_of(out / 'bad_videos.csv') == [{'path': 'walk/gone.avi', 'reason': 'no such file'}]
    assert f'{out}/annotations.csv: 2 videos, 1 left out' in said
    preparation.check(0.34)
    with pytest.raises(BadVideosError, match=r'1 of 3 videos could not be prepared \(33.3%, --max-bad 0.01\)'):
        preparation.check(0.01)


def test_bad_files_are_listed_and_tried_again(source, out, monkeypatch):
    (source / 'walk/x.mp4').write_bytes(b'no video')
    (source / 'walk/y.avi').touch()
    (source / 'walk/tab\t.avi').touch()
    (source / 'fall/link.avi').symlink_to(source / 'walk/a.avi')  # links are not followed
    said, preparation = prepare(source, out)
    bad = {row['path']: row['reason'] for row in rows_of(out / 'bad_videos.csv')}
    assert bad == {'walk/x.mp4': 'InvalidDataError: Invalid data found when processing input',
                   'walk/y.avi': 'the file is empty',
                   'walk/tab?.avi': 'no list can hold this name; rename the file'}
    assert '3 could not be prepared, all listed in' in '\n'.join(said) and len(rows_of(out / 'annotations.csv')) == 4
    write_clip(source / 'walk/y.avi')
    prepare(source, out)
    assert len(rows_of(out / 'annotations.csv')) == 5 and len(rows_of(out / 'bad_videos.csv')) == 2


def test_nothing_but_bad_files(tmp_path, out):
    touch(tmp_path / 'src', 'a/x.mp4')
    with pytest.raises(BadVideosError, match="none of 1 videos could be prepared:\n  'a/x.mp4': the file is empty"):
        prepare(tmp_path / 'src', out)
    assert files_in(out) == ['bad_videos.csv']


def times(out):
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.glob('[!.]*/*.mp4')}


def test_a_second_run_does_what_is_left(source, out, monkeypatch):
    prepare(source, out)
    first = times(out)
    with monkeypatch.context() as patch:
        forbid_decoding(patch)
        said, _ = prepare(source, out)
    assert said[0] == '4 videos: 4 done, 0 to do (0 bytes)' and times(out) == first
    write_clip(source / 'walk/a.avi', 9)  # changed
    write_clip(source / 'fall/new.avi', 3)
    (out / 'fall/a.mp4').unlink()
    (out / 'fall/d.mp4').write_bytes(b'cut off')
    prepare(source, out)
    assert [name for name, at in times(out).items() if first.get(name) == at] == ['walk/b c.mp4']
    assert len(first) == 4 and len(times(out)) == 5 and len(rows_of(out / 'annotations.csv')) == 5
    with open_video(out / 'walk/a.mp4', indices=IndexCache(out)) as reader:
        assert len(reader) == 9


def test_other_options_need_another_directory(source, out):
    prepare(source, out)
    before = (out / RECORD_FILE).read_bytes()
    for dry in (False, True):
        with pytest.raises(ConfigError, match=r'was prepared with --short-side 16 and not 144, --gop 1 and not 12; '):
            Preparation(source, out, Encoding(gop=12)).workplace(dry)
    assert (out / RECORD_FILE).read_bytes() == before


def test_a_record_that_breaks_off(source, out):
    prepare(source, out)
    record = out / RECORD_FILE
    record.write_bytes(record.read_bytes()[:-20])  # power failed
    said, _ = prepare(source, out)
    assert said[0].startswith('4 videos: 3 done, 1 to do')
    assert prepare(source, out)[0][0].startswith('4 videos: 4 done, 0 to do')
    record.write_bytes(b'{"settin')
    assert prepare(source, out)[0][0].startswith('4 videos: 0 done, 4 to do')


def test_one_run_at_a_time(source, out):
    with Store(out, SMALL), pytest.raises(ConfigError, match='another run is writing there'):
        Store(out, SMALL)
    Store(out, SMALL).close()


def test_somebody_elses_directory(source, out):
    touch(out, 'thesis.txt')
    for dry in (False, True):
        with pytest.raises(ConfigError, match='is not empty, and not a directory of prepared videos'):
            Preparation(source, out, SMALL).workplace(dry)
    assert [path.name for path in out.iterdir()] == ['thesis.txt']


@pytest.mark.parametrize('place', ['src', 'src/small', 'src/../src/x/y', '.', 'link'])
def test_prepared_videos_do_not_get_among_the_sources(source, tmp_path, place):
    (tmp_path / 'link').symlink_to(source)
    with pytest.raises(ConfigError, match='must lie neither in'):
        check_directories(source, tmp_path / place)


def test_two_videos_of_one_name(source, out):
    write_clip(source / 'walk/a.mp4')
    with pytest.raises(ConfigError, match="'walk/a.avi' and 'walk/a.mp4' would both become 'walk/a.mp4'"):
        Preparation(source, out, SMALL)
    assert not out.exists()


def test_new_names():
    assert targets(['a/b.AVI', 'a/c.d', 'e.zip', 'f/RGB_frames.zip', 'g.h.mp4'], '.mp4') == {
        'a/b.AVI': 'a/b.mp4', 'a/c.d': 'a/c.d.mp4', 'e.zip': 'e.mp4', 'f/RGB_frames.zip': 'f/RGB_frames.mp4',
        'g.h.mp4': 'g.h.mp4'}


def test_what_counts_as_a_video(tmp_path):
    touch(tmp_path, 'a/x.mp4', 'a/x.jpg', 'b/0001/img_1.jpg', 'b/0001/img_2.jpg', 'b/y.zip', 'c/notes.txt', '.z/q.mp4')
    assert names_below(tmp_path) == ['a/x.mp4', 'b/0001', 'b/y.zip']
    with pytest.raises(DataListError, match='holds no videos'):
        names_below(tmp_path / 'c')


def test_paths_stay_below_the_sources(source, tmp_path, out):
    write_clip(tmp_path / 'secret.avi')
    (source / 'out.avi').symlink_to(tmp_path / 'secret.avi')
    (source / 'list.csv').write_text('path\n../secret.avi\n')
    with pytest.raises(DataListError, match='list.csv:2: path .* contains "..";'):
        find_lists([source / 'list.csv'], source, '')
    (source / 'list.csv').write_text('path\nout.avi\nwalk/a.avi\n')
    prepare(source, out, lists=[Path('list.csv')])
    assert 'leads out of the data root' in rows_of(out / 'bad_videos.csv')[0]['reason']
    assert files_in(out) == ['bad_videos.csv', 'list.csv', 'walk/a.mp4']


@pytest.mark.parametrize(('name', 'text', 'extension', 'expected'), [
    ('a.txt', 'x/1.avi 3\nx/2.avi 4\nx/3 5\n', '', 'x/1.mp4 3\nx/3.mp4 5\n'),
    ('a.txt', 'x/1\nx/2\nx/3\n', '.avi', 'x/1\nx/3\n'),
    ('lists/a.json', [{'name': 'x/1.avi', 'label': 7, 'site': 2}, {'path': 'x/2.avi', 'label': 0},
                      {'path': 'x/3.avi', 'label': 9}], '',
     [{'name': 'x/1.mp4', 'label': 7, 'site': 2}, {'path': 'x/3.mp4', 'label': 9}]),
    ('a.csv', 'path,label\nx/1.avi,1\nx/2.avi,2\nx/3.avi,10\n', '', 'path,label\nx/1.mp4,1\nx/3.mp4,10\n'),
    ('a.csv', 'path,"a,b"\nx/1.avi,"c ""d"" e"\nx/2.avi,\nx/3.avi,\n', '',
     'path,"a,b"\nx/1.mp4,"c ""d"" e"\nx/3.mp4,\n'),
])
def test_lists_of_all_kinds(tmp_path, name, text, extension, expected):
    file = tmp_path / 'src' / name
    file.parent.mkdir(parents=True)
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    listed = VideoList(file, tmp_path / 'src', extension)
    prepared = targets(listed.names, '.mp4')
    del prepared[listed.names[1]]
    (tmp_path / 'out').mkdir()
    said = listed.write(tmp_path / 'out', prepared, '.mp4')
    written = (tmp_path / 'out' / name).read_text()
    assert (written if isinstance(text, str) else json.loads(written)) == expected
    assert said == [f'{tmp_path}/out/{name}: 2 videos, 1 left out']
    assert listed.write(tmp_path / 'out', prepared, '.mp4') == said  # by the next run
    again = read_annotations(tmp_path / 'out' / name, tmp_path / 'out', extension='.mp4' if extension else '')
    assert [video.path for video in again] == list(prepared.values())


def test_a_class_that_is_lost_renumbers_others_and_that_is_said(tmp_path):
    file = tmp_path / 'list.csv'
    file.write_text('path,label\n1.avi,jump\n2.avi,walk\n')
    listed = VideoList(file, tmp_path / 'src')
    (tmp_path / 'out').mkdir()
    said = listed.write(tmp_path / 'out', {'2.avi': '2.mp4'}, '.mp4')
    assert "no video of class 'jump' could be prepared" in said[1]
    assert 'not written' in listed.write(tmp_path / 'out', {}, '.mp4')[0]


def test_labels_of_directories_do_not_depend_on_bad_videos(tmp_path):
    write_list_of_directories(['a/1.avi', 'b/1.avi', 'C/1.avi'], {'b/1.avi': 'b/1.mp4', 'C/1.avi': 'C/1.mp4'}, tmp_path)
    assert [row['label'] for row in rows_of(tmp_path / 'annotations.csv')] == ['1', '2']
    (tmp_path / 'annotations.csv').unlink()
    write_list_of_directories(['a/1.avi', 'b/c/1.avi'], {'b/c/1.avi': 'b/c/1.mp4'}, tmp_path)
    assert rows_of(tmp_path / 'annotations.csv') == [{'path': 'b/c/1.mp4'}]


def test_lists_of_one_name(tmp_path):
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'list.csv').write_text('path\nx.avi\n')
    with pytest.raises(ConfigError, match='two lists would become list.csv'):
        find_lists([tmp_path / 'one/list.csv', tmp_path / 'two/list.csv'], tmp_path / 'src', '')


def test_a_sample_has_all_sizes():
    class Sized:
        def __init__(self, size):
            self.name, self.signature = str(size), type('S', (), {'bytes': size})

    sample = _spread([Sized(size) for size in range(100, 0, -1)], 4)
    assert [each.signature.bytes for each in sample] == [13, 38, 63, 88]
    assert len(_spread([Sized(1), Sized(2)], 8)) == 2


def test_tallies():
    assert Tally(1, 2, 3, 4, 5, 0.5, 1.0) + Tally(10, 20, 30, 40, 50, 1.0, 2.0) == Tally(11, 22, 33, 44, 55, 1.5, 3.0)
    assert [bytes_text(size) for size in (7, 1500, 123_456, 2.5e9, 3e12)] == ['7 bytes', '1.5 kB', '123 kB', '2.5 GB',
                                                                             '3.0 TB']
    assert [time_text(seconds) for seconds in (42, 600, 9000)] == ['42 s', '10 min', '2.5 h']


def test_a_set_that_will_not_fit(source, out, monkeypatch):
    monkeypatch.setattr('fedvssl.data.prepare.videos._free', lambda directory: 10)
    monkeypatch.setattr('fedvssl.data.prepare.videos._SAMPLE', 2)
    with pytest.raises(StorageError, match='only 10 bytes are free; make room'):
        prepare(source, out)
    assert len(times(out)) == 2  # nothing is lost


def start(*arguments, **options):
    return subprocess.Popen([sys.executable, str(SCRIPT), *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """Directory of ten videos."""
    root = tmp_path_factory.mktemp('many')
    for number in range(10):
        write_clip(root / f'a/{number:02d}.avi', 60, number, 96)
    return root


@pytest.mark.parametrize('stop', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on(many, out, stop):
    process = start(many, out, '--workers', '1')
    deadline = time.monotonic() + 60
    while len(times(out)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    first = times(out)
    assert 2 <= len(first) < 10 and not (out / 'annotations.csv').exists()
    for name in first:
        with open_video(out / name, 'pyav') as reader:
            assert len(reader) == 60
    if stop != signal.SIGKILL:
        assert (process.returncode, err) == (130, 'error: stopped; to go on, run it again with the same options\n')
        assert not (out / '.preparing').exists()
    said, _ = prepare(many, out, Encoding())
    assert len(times(out)) == 10 and files_in(out)[0] == 'a/00.mp4'
    kept = [name for name in first if times(out)[name] == first[name]]
    assert len(kept) >= len(first) - 1  # the one may have been moved, and not yet been noted
    assert f'{out}: 10 videos prepared, {len(kept)} of them before; ' in '\n'.join(said)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Runs the script in this process, since imports take time; returns exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['prepare_videos.py', *map(str, arguments)])
        code = run_tool(runpy.run_path(str(SCRIPT))['main'])
        return code, *capsys.readouterr()

    return run


def test_help(script):
    code, said, _ = script('prepare_videos.py', '--help')
    assert code == 0 and 'python scripts/prepare_videos.py' in said


def test_a_dry_run_keeps_nothing(tool, source, out):
    code, said, err = tool(source, out, '--short-side', '16', '--dry-run')
    assert (code, err) == (0, '') and not out.exists()
    assert said.startswith('4 videos: 0 done, 4 to do (') and 'of CPU time, ' in said


def test_exit_codes(tool, source, out, tmp_path):
    touch(source, 'walk/bad.mp4')
    code, said, err = tool(source, out, '--format', 'jpeg-zip', '--workers', '2')
    assert code == 4 and err.startswith('error: 1 of 5 videos could not be prepared (20.0%, --max-bad 0.01)')
    assert files_in(out) == ['annotations.csv', 'bad_videos.csv', 'fall/a.zip', 'fall/d.zip', 'walk/a.zip',
                             'walk/b c.zip']
    assert tool(source, out, '--format', 'jpeg-zip', '--workers', '1', '--max-bad', '0.2')[0] == 0
    for arguments, code, word in (((source, out), 2, '--format'), ((source, source / 'x'), 2, 'neither'),
                                  ((source, tmp_path / 'new', '--workers', '0'), 2, '--workers'),
                                  ((source, tmp_path / 'new', '--max-bad', 'nan'), 2, '--max-bad'),
                                  ((tmp_path / 'no', tmp_path / 'new'), 3, 'no such directory'),
                                  ((source, tmp_path / 'new', '--annotations', 'no.csv'), 3, 'no.csv')):
        found, said, err = tool(*arguments)
        assert (found, said) == (code, '') and word in err
    assert not (tmp_path / 'new').exists()


def test_a_full_disk(source, out):
    """No file may grow beyond 40 kB."""
    write_clip(source / 'walk/large.avi', 40, 5, 128)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    process = start(source, out, '--quality', '5', '--workers', '1', preexec_fn=limit)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 6 and 'cannot be written to (File too large); make room' in err, err
    assert all(not name.startswith('walk/large') for name in times(out)) and not (out / '.preparing').exists()
    prepare(source, out, Encoding(quality=5))
    assert len(times(out)) == 5


def test_what_may_not_be_written(source, out, tool):
    if os.geteuid() == 0:
        touch(out.parent, 'file')
        code, _, err = tool(source, out.parent / 'file' / 'out')
    else:
        out.mkdir(mode=0o500)
        code, _, err = tool(source, out)
    assert code == 6 and 'cannot be written' in err


def test_links_are_said_not_followed(source, out, caplog):
    (source / 'linked.avi').symlink_to(source / 'walk/a.avi')
    prepare(source, out)
    assert 'symbolic links are not followed' in caplog.text and 'linked.avi' in caplog.text
    assert not (out / 'linked.mp4').exists()


def test_a_later_run_does_not_replace_what_an_earlier_list_names(source, out):
    shutil.copy(source / 'walk/a.avi', source / 'walk/a.mov')
    for name in ('a.avi', 'a.mov'):
        (source / f'{name}.csv').write_text(f'path,label\nwalk/{name},0\n')
    lists = [[source / f'{name}.csv'] for name in ('a.avi', 'a.mov')]
    prepare(source, out, lists=lists[0])
    before = (out / 'walk/a.mp4').read_bytes()
    with pytest.raises(ConfigError, match=r"a.mp4: was made of 'walk/a.avi', and would be replaced by 'walk/a.mov'"):
        prepare(source, out, lists=lists[1])
    assert (out / 'walk/a.mp4').read_bytes() == before
    (source / 'walk/a.avi').unlink()  # it was renamed, say
    prepare(source, out, lists=lists[1])


def test_a_list_with_more_columns_replaces_its_predecessor(source, out):
    (source / 'annotations.csv').write_text('path,label\nwalk/a.avi,0\n')
    prepare(source, out)
    (source / 'annotations.csv').write_text('path,label,site\nwalk/a.avi,0,w3\n')
    prepare(source, out)
    assert rows_of(out / 'annotations.csv') == [dict(path='walk/a.mp4', label='0', site='w3')]
