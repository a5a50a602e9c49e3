"""The doctor finds every planted defect under its right kind, names nothing healthy, and looks at nothing twice."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted import DEFECTS, HEALTHY, plant, write

from fedvssl.config import from_dict
from fedvssl.data.client_lists import write_client_lists
from fedvssl.data.diagnoses import Need, judge
from fedvssl.data.doctor import examine, quarantine
from fedvssl.data.doctor_files import write_findings, write_quarantine
from fedvssl.data.doctor_sources import frames_wanted, from_config, from_list
from fedvssl.data.duplicates import Entry, content_digest, judge_copies
from fedvssl.data.probe_cache import ProbeCache
from fedvssl.data.sampling import MidTickSampler, RandomClipSampler, SpeedSampler, VCOPSampler
from fedvssl.errors import DataListError
from fedvssl.video.probing.facts import Facts
from fedvssl.video.probing.probe_pool import ProbePool
from tests.conftest import tiny_values


class NoPool(ProbePool):
    """Refuses to open anything."""

    def __init__(self):
        super().__init__(1, 60)

    def run(self, files, quick):
        assert not files, f'{list(files)} were opened'
        yield from ()


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    """Root of the planted set, and what has to be found."""
    root = tmp_path_factory.mktemp('planted')
    return root, plant(root)


def findings_of(source, cache_file, pool=None, **options):
    with ProbeCache(cache_file) as cache:
        return examine(source.entries, source.root, source.needs, cache, pool or ProbePool(2, 60), workers=2, **options)


def test_every_planted_defect_is_found_and_nothing_else(planted, tmp_path):
    root, expected = planted
    source = from_list(root / 'list.csv', client_column='site')
    findings = findings_of(source, tmp_path / 'cache')
    assert len(source.entries) == 60 and len(expected) == 60 - HEALTHY and len(DEFECTS) >= 12
    assert Counter((finding.subject, finding.kind) for finding in findings) == Counter(expected.items())
    assert all(finding.message and finding.remedy and '\n' not in str(finding) for finding in findings)
    assert [finding.subject for finding in findings] == [e.path for e in source.entries if e.path in expected]

    # A second examination opens nothing and reads no content.
    assert findings_of(source, tmp_path / 'cache', NoPool()) == findings
    # What is left without the quarantined ones has warnings only; the loader can use all of it.
    bad = quarantine(findings, expected)
    rest = replace(source, entries=[entry for entry in source.entries if entry.path not in bad])
    left = findings_of(rest, tmp_path / 'cache', NoPool())
    assert {finding.severity for finding in left} == {'warning'}
    assert {finding.kind for finding in left} == {'frame-count', 'variable-rate', 'edit-list', 'duplicate'}


def test_a_changed_file_is_looked_at_again(tmp_path):
    for number in range(2):
        write(tmp_path / f'{number}.mp4', number)
    (tmp_path / 'list.csv').write_text('path\n0.mp4\n1.mp4\n')
    source = from_list(tmp_path / 'list.csv')
    assert not findings_of(source, tmp_path / 'cache')
    (tmp_path / '1.mp4').write_text('no longer a video')
    with pytest.raises(AssertionError, match='1.mp4'):
        findings_of(source, tmp_path / 'cache', NoPool())
    assert [finding.kind for finding in findings_of(source, tmp_path / 'cache')] == ['undecodable']


def test_quick_facts_do_for_a_quick_examination_only(tmp_path):
    write(tmp_path / '0.mp4', 0)
    (tmp_path / 'list.csv').write_text('path\n0.mp4\n')
    source = from_list(tmp_path / 'list.csv')
    findings_of(source, tmp_path / 'cache', quick=True)
    findings_of(source, tmp_path / 'cache', NoPool(), quick=True)
    with pytest.raises(AssertionError):
        findings_of(source, tmp_path / 'cache', NoPool())
    findings_of(source, tmp_path / 'cache')
    findings_of(source, tmp_path / 'cache', NoPool())
    findings_of(source, tmp_path / 'cache', NoPool(), quick=True)


def test_an_interrupted_examination_goes_on_where_it_was(tmp_path):
    for number in range(4):
        write(tmp_path / f'{number}.mp4', number)
    (tmp_path / 'list.csv').write_text('path\n' + ''.join(f'{number}.mp4\n' for number in range(4)))
    source = from_list(tmp_path / 'list.csv')

    def stop(stage, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        findings_of(source, tmp_path / 'cache', ProbePool(1, 60), progress=stop)
    opened = []

    class Recording(ProbePool):
        def run(self, files, quick):
            opened.extend(files)
            yield from super().run(files, quick)

    findings_of(source, tmp_path / 'cache', Recording(1, 60))
    assert len(opened) == 1


def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    write(tmp_path / 'outside.mp4', 0)
    (root / 'link.mp4').symlink_to(tmp_path / 'outside.mp4')
    os.mkfifo(root / 'fifo.mp4')
    (root / 'list.csv').write_text(f'path\nlink.mp4\nfifo.mp4\n{"x" * 300}.mp4\n')
    findings = findings_of(from_list(root / 'list.csv'), tmp_path / 'cache')
    assert [finding.kind for finding in findings] == ['refused'] * 3
    assert 'leads out of the data root' in findings[0].message


def kinds(facts, need=None):
    return [(finding.kind, str(finding.severity)) for finding in judge('clip', facts, need or Need())]


GOOD = Facts(full=True, frames=40, declared=40)


@pytest.mark.parametrize(('facts', 'expected'), [
    (GOOD, []),
    (replace(GOOD, declared=0), []),
    (replace(GOOD, declared=41), [('frame-count', 'warning')]),
    (replace(GOOD, declared=60, hidden=20), [('edit-list', 'warning')]),
    (replace(GOOD, uneven=0.2), []),
    (replace(GOOD, uneven=0.5), [('variable-rate', 'warning')]),
    (replace(GOOD, declared=60, missing_bytes=1000), [('truncated', 'error')]),
    (replace(GOOD, missing_bytes=8), []),
    (replace(GOOD, missing_bytes=8, cut_off=True), [('truncated', 'error')]),
    (Facts(trouble='undecodable', missing_bytes=8), [('truncated', 'error')]),
    (Facts(trouble='undecodable', reason='no'), [('undecodable', 'error')]),
    (Facts(trouble='no-frames', reason='no'), [('no-frames', 'error')]),
    (Facts(trouble='damaged', missing_bytes=900), [('truncated', 'error'), ('damaged', 'error')]),
    (replace(GOOD, trouble='damaged', declared=60, uneven=3), [('damaged', 'error')]),
    (replace(GOOD, trouble='mixed-sizes'), [('mixed-sizes', 'error')]),
    (Facts(trouble='hangs'), [('hangs', 'error')]),
    (Facts(trouble='crashes'), [('crashes', 'error')]),
    (Facts(trouble='missing'), [('missing', 'error')]),
    (Facts(trouble='refused'), [('refused', 'error')]),
], ids=range(19))
def test_what_facts_mean(facts, expected):
    assert kinds(facts) == expected


def test_too_few_frames_are_an_error_only_if_somebody_said_so():
    assert kinds(GOOD, Need(required=40, wanted=40)) == []
    assert kinds(GOOD, Need(required=2, wanted=41)) == [('too-few-frames', 'warning')]
    assert kinds(GOOD, Need(required=41, wanted=60)) == [('too-few-frames', 'error')]


@pytest.mark.parametrize(('sampler', 'frames'), [
    (RandomClipSampler(clip_length=16, stride=2), 30),  # 0, 2 .. 28 and, for 30, the last one: none twice
    (RandomClipSampler(clip_length=16, stride=[3, 2, 5]), 30),  # with the smallest stride
    (RandomClipSampler(clip_length=16, stride=[1, 2, 3, 4], jitter=True, num_clips=2), 16),
    (SpeedSampler(clip_length=16), 16),
    (VCOPSampler(clip_length=8, num_clips=3, gap=4), 26),  # 3 * 8, and two gaps of 1: without, clips overlap
    (VCOPSampler(clip_length=16, num_clips=3, gap=0), 48),
    (MidTickSampler(clip_length=16, stride=2, num_clips=10), 30),  # its clips may overlap
], ids=range(7))
def test_how_many_frames_a_sampler_wants(sampler, frames):
    assert frames_wanted(sampler) == frames


def copies(*places):
    return [(finding.subject, finding.kind, str(finding.severity))
            for finding in judge_copies([Entry(str(number), *place) for number, place in enumerate(places)])]


def test_which_copy_is_named():
    assert copies(('train', 'a'), ('test', 'b')) == [('0', 'train-test-duplicate', 'error')]
    assert copies(('test', 'a'), ('train', 'a')) == [('1', 'train-test-duplicate', 'error')]
    assert copies(('train', 'a'), ('train', 'b'), ('test', 'c')) == [('0', 'train-test-duplicate', 'error'),
                                                                     ('1', 'train-test-duplicate', 'error')]
    assert copies(('val', ''), ('test', '')) == [('1', 'train-test-duplicate', 'error')]
    assert copies(('train', 'a'), ('train', 'b'), ('train', 'b')) == [('1', 'client-duplicate', 'error'),
                                                                      ('2', 'client-duplicate', 'error')]
    assert copies(('', ''), ('', '')) == [('1', 'duplicate', 'warning')]
    assert copies(('train', 'a'), ('train', 'a'), ('train', 'b')) == [('1', 'duplicate', 'warning'),
                                                                      ('2', 'client-duplicate', 'error')]


def test_directories_are_compared_by_what_is_in_them(tmp_path):
    pictures = [bytes([number]) * 99 for number in range(40)]
    for folder, contents in (('a', pictures), ('b', pictures[::-1])):
        (tmp_path / folder).mkdir()
        for number, content in enumerate(contents):
            (tmp_path / folder / f'img_{number:02d}.jpg').write_bytes(content)
    for folder, contents in (('a', pictures), ('b', pictures[::-1])):
        expected = sha256(b''.join(sha256(content).digest() for content in contents)).hexdigest()
        assert content_digest(tmp_path / folder) == expected


def test_videos_that_are_pictures(tmp_path):
    for folder, shade in (('whole', 9), ('copy', 9), ('other', 99), ('torn', 60)):
        (tmp_path / folder).mkdir()
        for number in range(5):
            picture = np.full((24, 32, 3), shade + number, np.uint8)
            cv2.imwrite(str(tmp_path / folder / f'img_{number:05d}.png'), picture)
    shutil.make_archive(str(tmp_path / 'packed'), 'zip', tmp_path / 'other')
    (tmp_path / 'torn/img_00002.png').unlink()
    (tmp_path / 'list.csv').write_text('path\nwhole\ncopy\nother\ntorn\npacked.zip\n')
    source = from_list(tmp_path / 'list.csv', min_frames=5)
    findings = findings_of(source, tmp_path / 'cache')
    assert [(finding.subject, finding.kind) for finding in findings] == [('copy', 'duplicate'), ('torn', 'undecodable')]
    assert findings_of(source, tmp_path / 'cache', NoPool()) == findings


def test_only_files_of_one_size_are_compared(tmp_path, monkeypatch):
    from fedvssl.data import duplicates

    for number, frames in enumerate((10, 10, 20)):
        write(tmp_path / f'{number}.mp4', seed=frames, frames=frames)
    (tmp_path / 'list.csv').write_text('path\n0.mp4\n1.mp4\n2.mp4\n')
    read = []
    monkeypatch.setattr(duplicates, 'content_digest', lambda path: read.append(path.name) or content_digest(path))
    findings = findings_of(from_list(tmp_path / 'list.csv'), tmp_path / 'cache')
    assert [(finding.subject, finding.kind) for finding in findings] == [('1.mp4', 'duplicate')]
    assert sorted(read) == ['0.mp4', '1.mp4']


@pytest.fixture
def config(tiny_videos):
    def build(**data):
        values = tiny_values(tiny_videos, evaluate_every=1)
        return from_dict(values | dict(data=values['data'] | data))
    return build


def test_the_videos_of_a_config(config, tiny_videos, tmp_path):
    source = from_config(config())
    assert [entry.split for entry in source.entries] == ['train'] * 16 + ['test'] * 8
    assert Counter(entry.client for entry in source.entries[:16]) == dict.fromkeys('0123', 4)
    assert Counter(entry.client for entry in source.entries[16:]) == dict.fromkeys('0123', 2)
    assert source.needs == dict.fromkeys(('train', 'test'), Need(1, 14))  # VCOP, three clips of 4 frames
    assert {entry.client for entry in from_config(config(partition=None)).entries} == {''}
    assert not findings_of(source, tmp_path / 'cache')  # the generated set is healthy


def test_one_split_for_training_and_testing_is_one_finding(config, tiny_videos, tmp_path):
    values = tiny_values(tiny_videos)
    findings = findings_of(from_config(config(test=values['data']['train'])), tmp_path / 'cache')
    assert [(finding.kind, finding.subject) for finding in findings] == [('train-test-duplicate', 'train and test')]
    assert '16 videos are in both' in findings[0].message
    assert not quarantine(findings, ['train/00000.mp4'])


def test_lists_that_overlap_are_one_finding(config, tmp_path):
    entries = [dict(name=f'train/{number:05}', label=1) for number in range(16)]
    write_client_lists(tmp_path / 'lists', [entries[:9], entries[8:]])
    lists = dict(type='ListsPartitioner', directory=str(tmp_path / 'lists'))
    findings = findings_of(from_config(config(partition=lists)), tmp_path / 'cache')
    assert [(finding.kind, finding.subject) for finding in findings] == [('client-duplicate', 'the clients')]
    assert '1 videos are on more than one of them, e.g. train/00008' in findings[0].message


def test_a_quarantine_is_kept_and_honoured(config, tiny_videos, tmp_path):
    file = write_quarantine(tmp_path, {'train/00000.mp4': 'damaged: "really", it is'})
    source = from_config(config(quarantine=str(file)))
    assert len(source.entries) == 23 and 'train/00000.mp4' not in [entry.path for entry in source.entries]
    assert source.left_out == {'train/00000.mp4': 'damaged: "really", it is'}


def test_the_columns_of_a_list(tmp_path):
    file = tmp_path / 'list.csv'
    file.write_text('path,fold,site\na.mp4,1,x\nb.mp4,2,y\n')
    assert from_list(file).entries == [Entry('a.mp4'), Entry('b.mp4')]
    source = from_list(file, split_column='fold', client_column='site', min_frames=9)
    assert source.entries == [Entry('a.mp4', '1', 'x'), Entry('b.mp4', '2', 'y')]
    assert (source.root, source.needs) == (tmp_path, {'1': Need(9), '2': Need(9)})
    assert from_list(file, extension='.x').entries[0].path == 'a.mp4.x'
    with pytest.raises(DataListError, match="no column 'sight'; did you mean 'site'"):
        from_list(file, client_column='sight')
    with pytest.raises(DataListError, match='no such directory'):
        from_list(file, tmp_path / 'nowhere')


def test_the_files_can_be_read_back_as_lists(tmp_path):
    from fedvssl.data.annotations import read_annotations, read_quarantine

    path = 'a, "b"/c d [1] \u00e4.mp4'
    findings = judge(path, Facts(trouble='damaged', reason='bad\x00 byte\r\nin line \udc80'), Need())
    videos = read_annotations(write_findings(tmp_path, findings), tmp_path)
    assert [(video.path, video.columns['kind'], video.columns['severity']) for video in videos] == [
        (path, 'damaged', 'error')]
    assert read_quarantine(write_quarantine(tmp_path, quarantine(findings, [path]))) == {path}
    assert read_quarantine(write_quarantine(tmp_path, {})) == set()
    assert not list(tmp_path.glob('.*'))


BROKEN = {
    'animated.gif': [], 'audio_only.mp4': ['undecodable'], 'avi_content_wrong_ext.mp4': [],
    'bitrot_payload.avi': ['truncated', 'damaged'],  # cut to 160,000 of 294,566 bytes as well
    'edit_list_deadlocks_decord.mp4': ['edit-list'], 'empty.mp4': ['undecodable'], 'fragmented.mp4': [],
    'header_only_32.mp4': ['undecodable'], 'name with spaces (1) [a].mp4': [], 'one_frame.mp4': ['too-few-frames'],
    'random_bytes.mp4': ['undecodable'], 'seven_frames.mp4': [], 'text_renamed.mp4': ['undecodable'],
    'truncated50.avi': ['truncated'], 'truncated50_moov_first.mp4': ['truncated'],
    'vfr.mp4': [],  # by name only: its five frames are 1024 ticks apart
    'yuv444.mp4': [], 'zeroed_middle.mp4': ['damaged'],
}


def real(folder):
    if 'FEDVSSL_DATA' not in os.environ:
        pytest.skip('FEDVSSL_DATA is not set')
    return Path(os.environ['FEDVSSL_DATA']) / 'video' / folder


@pytest.mark.parametrize('quick', [False, True])
def test_real_broken_files(quick, tmp_path):
    root = real('broken')
    entries = [Entry(path.name) for path in sorted(root.iterdir())]
    with ProbeCache(tmp_path / 'cache') as cache:
        findings = examine(entries, root, {'': Need(2)}, cache, ProbePool(2, 60), quick=quick)
    found = {entry.path: [finding.kind for finding in findings if finding.subject == entry.path] for entry in entries}
    assert found == BROKEN


def test_real_healthy_files(tmp_path):
    root = real('')
    paths = [*sorted((root / 'asl24/clips').rglob('*.mp4'))[::20], *sorted((root / 'singles').iterdir())]
    entries = [Entry(str(path.relative_to(root))) for path in paths if path.suffix != '.csv']
    with ProbeCache(tmp_path / 'cache') as cache:
        findings = examine(entries, root, {'': Need(2)}, cache, ProbePool(2, 60))
    # Of its 49 packets one holds no picture; OpenCV and decord count 49 frames.
    assert [(finding.subject, finding.kind) for finding in findings] == [('singles/hmdb_vtest.avi', 'frame-count')]


def test_random_bytes_never_stop_the_doctor(tmp_path):
    random = np.random.default_rng(0)
    source = write(tmp_path / 'source.avi', 0).read_bytes()
    for number in range(20):
        data = bytearray(source)
        for place in random.integers(0, len(data), 30):
            data[place] = random.integers(256)
        (tmp_path / f'{number}.avi').write_bytes(data)
    entries = [Entry(f'{number}.avi') for number in range(20)]
    with ProbeCache(tmp_path / 'cache') as cache:
        examine(entries, tmp_path, {}, cache, ProbePool(2, 60))
