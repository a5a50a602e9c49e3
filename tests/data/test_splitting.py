import json
import lzma
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from fedvssl.data.manifest import ReferenceList, SplitManifest
from fedvssl.data.named_list import read_named_list
from fedvssl.data.partition import digest
from fedvssl.data.splitting import SplitOptions, divide, split
from fedvssl.errors import DataListError, StorageError

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / 'DATA/kinetics400'
KINETICS = Path(os.environ.get('FEDVSSL_DATA', '')) / 'kinetics400'
needs_data = pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')
DISJOINT = dict(scheme='disjoint', num_clients=4, classes_per_client=2, seed=7)

# Four classes of 5, 6, 7 and 8 videos; labels counted from 1.
ROWS = [(f'class_{label}/video_{number}', label) for label in range(1, 5) for number in range(label + 4)]


def text(rows):
    return ''.join(f'{name} {label}\n' for name, label in rows)


@pytest.fixture
def run(tmp_path):
    """Splits rows (or raw bytes) and returns what was said, and the clients' files as lists of pairs."""

    def run(rows, scheme=DISJOINT, out='out', **options):
        file = tmp_path / 'list.txt'
        file.write_bytes(rows if isinstance(rows, bytes) else text(rows).encode())
        options = dict(reference=tmp_path / 'none.npz') | options
        lines = list(split(SplitOptions(file, tmp_path / out, scheme, **options)))
        files = sorted((tmp_path / out).glob('client_dist*.json'), key=lambda file: int(file.stem[11:]))
        return lines, [[(entry['name'], entry['label']) for entry in json.loads(file.read_text())] for file in files]

    return run


def test_disjoint(run):
    lines, clients = run(ROWS)
    assert sorted(row for client in clients for row in client) == sorted(ROWS)
    assert [sorted({label for _, label in client}) for client in clients] == [[1, 4], [2, 3], [1, 4], [2, 3]]
    assert lines[:4] == ['scheme disjoint, num_clients 4, classes_per_client 2, seed 7',
                         'clients: 4, each with 6 to 7 (median 6.5) videos of 2 classes',
                         'videos: 26 of 26, 0 of them on more than one client',
                         'classes: 4 of 4, each on 2 clients']


@pytest.mark.parametrize('scheme', [DISJOINT, dict(scheme='dirichlet', num_clients=3, alpha=0.5, seed=7)])
def test_the_order_of_the_list_changes_no_file(run, scheme):
    assert run(ROWS, scheme)[1] == run(ROWS[::-1], scheme, out='reversed')[1]


def test_forms_of_a_list(run, tmp_path):
    expected = run(ROWS)[1]
    assert run(text(ROWS).replace(' ', '\t').replace('\n', ' \r\n').encode() + b'\r\n', out='crlf')[1] == expected
    for name, content in (('list.json', json.dumps([dict(name=name, label=label) for name, label in ROWS])),
                          ('list.csv', 'path,label\n' + ''.join(f'{name},{label}\n' for name, label in ROWS))):
        (tmp_path / name).write_text(content)
        options = SplitOptions(tmp_path / name, tmp_path / name[5:], DISJOINT, tmp_path / 'none.npz')
        list(split(options))
        first = [tmp_path / folder / 'client_dist1.json' for folder in (name[5:], 'out')]
        assert first[0].read_bytes() == first[1].read_bytes()


def test_a_list_that_counts_from_0(run):
    shifted = [(name, label - 1) for name, label in ROWS]
    clients = run(ROWS, out='from 1')[1]
    assert run(shifted, label_base=0)[1] == [[(name, label - 1) for name, label in client] for client in clients]
    with pytest.raises(DataListError, match="list.txt:1: label '0' is below 1, .* counted from 0, say so"):
        run(shifted)


def test_names_without_their_class(run):
    _, clients = run(ROWS[:5], dict(scheme='iid', num_clients=2, seed=7), without_class=True)
    assert sorted(name for client in clients for name, _ in client) == [f'video_{number}' for number in range(5)]
    with pytest.raises(DataListError, match="'video_0' is the name of several videos without their class"):
        run(ROWS, without_class=True, out='several')


@pytest.mark.parametrize(('rows', 'message'), [
    ([*ROWS, ('class_3/x', 2)], r"list.txt:27: label 2 of a video of class 'class_3', whose other videos have label 3; "
                                'are labels counted from 0 and from 1 mixed?'),
    ([*ROWS, ('other/x', 2)], r"list.txt:27: label 2 is that of class 'class_2', not of 'other'"),
    ([*ROWS, ('class_3/x', 2), ('flat', 2)], "list.txt:27: label 2 of a video of class 'class_3'"),
    ([*ROWS, ROWS[3]], r"list.txt:27: 'class_1/video_3' is already on line 4"),
    ([*ROWS, ('/etc/passwd', 2)], r"list.txt:27: path '/etc/passwd' is absolute"),
    ([*ROWS, ('class_1/../x', 2)], r'list.txt:27: path .* contains "\.\."'),
    (text(ROWS).encode() + b'class_1/\xff 1\n', r'list.txt:27: byte 0xff at position 9 is not UTF-8'),
    (b'class_1/x\nclass_1/y\n', 'list.txt: has no labels'),
    ([('class_1/x', 1)], 'classes_per_client=2 does not divide the 1 classes'),
    ([ROWS[0], *ROWS[5:]], r'num_clients=4: 2 clients are to share class 0 \(counted from 0\), which has 1 videos'),
])
def test_bad_lists_write_nothing(run, rows, message, tmp_path):
    with pytest.raises(DataListError, match=message):
        run(rows)
    assert not (tmp_path / 'out').exists()


def test_another_split_is_not_overwritten(run):
    _, before = run(ROWS)
    assert any('0 of them written, 4 already there' in line for line in run(ROWS)[0])
    with pytest.raises(StorageError, match='holds another split'):
        run(ROWS, DISJOINT | dict(num_clients=2))
    assert len(run(ROWS, DISJOINT | dict(num_clients=2), overwrite=True)[1]) == 2 != len(before)


def test_a_manifest_finds_its_clients_in_another_list(run, tmp_path):
    manifest = tmp_path / 'manifests/split.npz'
    _, clients = run(ROWS, save_manifest=manifest)
    gone = {'class_2/video_1', 'class_2/video_2', 'class_4/video_6', 'class_4/video_7'}
    here = {name for name, _ in ROWS} - gone
    lines, found = run([('class_4/mine', 4), *(row for row in ROWS[::-1] if row[0] in here)], out='mine',
                       manifest=manifest)
    assert found == [[row for row in client if row[0] in here] for client in clients]
    assert lines[1:6] == [
        f'the list has 23 videos, {manifest.parent}/list.npz 26, in another order',
        'missing: 4 (lines of the reference: 7-8, 25-26)',
        'unknown to the reference: 1 (such as class_4/mine)',
        'with another label: 0',
        'skipped: 4 entries whose video is missing; left out: 1 unknown videos']
    assert run(ROWS, out='same', manifest=manifest)[0][1] == \
        f'the list is the 26 videos of {manifest.parent}/list.npz, in the same order'
    with pytest.raises(DataListError, match='the list has none of the videos of client 1'):
        run([row for row in ROWS if row not in clients[0]], out='none', manifest=manifest)


def test_a_manifest_belongs_to_its_list(run, tmp_path):
    first, second = tmp_path / 'first/split.npz', tmp_path / 'second/split.npz'
    run(ROWS, save_manifest=first)
    run(ROWS[::-1], out='2', save_manifest=second)
    with pytest.raises(StorageError, match='list.npz: is the reference of another list; save the manifest in another'):
        run(ROWS, out='3', save_manifest=second.with_name('third.npz'))
    assert not (tmp_path / '3').exists()
    (tmp_path / 'first/list.npz').write_bytes((tmp_path / 'second/list.npz').read_bytes())
    with pytest.raises(DataListError, match='split.npz: is a split of another list than that of .*list.npz'):
        run(ROWS, out='3', manifest=first)


def test_an_incomplete_list_is_told_of_the_manifest(run, tmp_path):
    manifest = tmp_path / 'split.npz'
    run(ROWS, save_manifest=manifest)
    lines, _ = run(ROWS[1:], out='less', reference=tmp_path / 'list.npz')
    assert lines[5].startswith('note: the scheme is applied to this list, so that clients differ from those of '
                               f'{manifest}; --manifest {manifest} keeps them')
    other = DISJOINT | dict(seed=8)
    assert not any('note:' in line for line in run(ROWS[1:], other, out='other', reference=tmp_path / 'list.npz')[0])


def test_a_report_of_another_split_does_not_stay(run, tmp_path):
    (tmp_path / 'own').mkdir()
    (tmp_path / 'own/report.json').write_bytes(b'mine')
    run(ROWS, out='own')
    assert (tmp_path / 'own/report.json').read_bytes() == b'mine'
    run(ROWS, report=True)
    run(ROWS, DISJOINT | dict(num_clients=2), overwrite=True)
    assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == ['client_dist1.json', 'client_dist2.json']


def test_names_with_suffixes_and_blanks_are_known(run, tmp_path):
    run(ROWS, save_manifest=tmp_path / 'split.npz')
    (tmp_path / 'list.csv').write_text('path,label\n' + ''.join(f'{name}.mp4,{label}\n' for name, label in ROWS))
    lines = list(split(SplitOptions(tmp_path / 'list.csv', tmp_path / 'csv', DISJOINT, tmp_path / 'list.npz')))
    assert 'the list is the 26 videos of' in lines[1]


def test_labels_that_differ_from_the_reference_are_named(run, tmp_path):
    run(ROWS, save_manifest=tmp_path / 'split.npz')
    swapped = [(name, {1: 2, 2: 1}.get(label, label)) for name, label in ROWS]
    lines, _ = run(swapped, out='swapped', reference=tmp_path / 'list.npz', report=True)
    assert lines[4].startswith('with another label: 11 (such as class_1/video_0, class_1/video_1, ')
    report = json.loads((tmp_path / 'swapped/report.json').read_text())
    assert len(report['difference_from_reference']['relabelled']) == 11
    other = [(f'x{name}', label) for name, label in ROWS]
    assert 'the list is not that of' in run(other, out='other', reference=tmp_path / 'list.npz')[0][1]


def test_report(run, tmp_path):
    lines, _ = run(ROWS, report=True)
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert report['statistics']['videos_per_client'] == dict(min=6, median=6.5, max=7)
    assert report['scheme'] == DISJOINT and report['rows'] == 26
    assert (tmp_path / 'out/report.png').read_bytes().startswith(b'\x89PNG')
    assert [line.rpartition('/')[2] for line in lines[-2:]] == ['report.json: written', 'report.png: written']


def test_manifests_that_are_none(tmp_path):
    for content in (b'', b'PK\x03\x04', b'nonsense'):
        (tmp_path / 'bad.npz').write_bytes(content)
        with pytest.raises(DataListError, match='bad.npz: not a manifest of ours, or damaged'):
            SplitManifest.load(tmp_path / 'bad.npz')
    good = dict(list_sha256='x', scheme=dict(scheme='iid'), statistics={})
    sizes, steps = np.array([2], '<i4'), np.zeros((4, 2), np.uint8)
    for about, *arrays in (({}, sizes, steps), ([], sizes, steps), (good | dict(scheme={}), sizes, steps),
                           (good, sizes, steps[:, :1]), (good, sizes.astype(float), steps), (good, sizes - 2, steps)):
        np.savez(tmp_path / 'bad.npz', about=np.array(json.dumps(about)), sizes=arrays[0], steps=arrays[1])
        with pytest.raises(DataListError, match='bad.npz'):
            SplitManifest.load(tmp_path / 'bad.npz')
    np.savez(tmp_path / 'bad.npz', about=np.array(json.dumps(good)), sizes=sizes, steps=steps + np.uint8(255))
    with pytest.raises(DataListError, match='names position'):
        manifest = SplitManifest.load(tmp_path / 'bad.npz')
        manifest.applied(ReferenceList.of(['a'], np.array([1]), 1).compare(['a'], np.array([0])))
    with pytest.raises(DataListError, match='no such file'):
        ReferenceList.load(tmp_path / 'none.npz')


def test_a_reference_survives_its_file(tmp_path):
    names, labels = [name for name, _ in ROWS], np.array([label for _, label in ROWS])
    reference = ReferenceList.of(names, labels, label_base=1)
    reference.save(tmp_path / 'list.npz')
    loaded = ReferenceList.load(tmp_path / 'list.npz')
    assert loaded.sha256 == reference.sha256 == sha256(text(ROWS).encode()).hexdigest()
    assert np.array_equal(loaded.names, reference.names) and np.array_equal(loaded.classes, labels - 1)
    assert loaded.compare(names, labels - 1).identical


def script(name, *arguments):
    return subprocess.run([sys.executable, str(REPOSITORY / 'scripts' / name), *map(str, arguments)],
                          capture_output=True, text=True, check=False)


def test_the_scripts_say_what_they_do(tmp_path):
    (tmp_path / 'list.txt').write_text(text(ROWS))
    options = ['--input_path', tmp_path / 'list.txt', '--out_path', tmp_path / 'out']
    done = script('k400_non_iid.py', *options, '--num-clients', 2, '--classes-per-client', 2)
    assert done.returncode == 0
    assert done.stdout.startswith('scheme disjoint, num_clients 2, classes_per_client 2, seed 7\n')
    assert f'the list is not that of {DATA}/list.npz: it has 0 of its 219,664 videos' in done.stdout
    for wrong, message in (
            (['--mode', 'legacy', '--dirichlet', '1'], '--mode legacy has no use for --dirichlet; leave one'),
            (['--mode', 'disjoint', '--dirichlet', '1'], '--dirichlet has no use for --mode'),
            (['--manifest', DATA / 'iid.npz', '--seed', '1'], '--manifest has no use for --seed')):
        done = script('k400_non_iid.py', *options, *wrong)
        assert done.returncode == 2 and message in done.stderr
    done = script('k400_non_iid.py', *options, '--classes-per-client', 0)
    assert done.returncode == 3 and 'classes_per_client=0 does not divide the 4 classes' in done.stderr
    refused = script('kinetics_json_splitter.py', *options, '--num-clients', 3)
    assert refused.returncode == 6 and 'holds another split' in refused.stderr


@pytest.mark.parametrize(('name', 'records', 'sizes'), [
    ('iid', 219664, (2196, 2197)), ('disjoint', 219664, (2118, 2316)), ('legacy', 228382, (2255, 2314))])
def test_shipped_manifests(name, records, sizes):
    manifest, reference = SplitManifest.load(DATA / f'{name}.npz'), ReferenceList.load(DATA / 'list.npz')
    assert manifest.list_sha256 == reference.sha256 and len(reference.names) == 219664
    per_client = [len(part) for part in manifest.clients]
    assert (len(per_client), sum(per_client), min(per_client), max(per_client)) == (100, records, *sizes)
    assert manifest.statistics['records'] == records
    positions = np.concatenate(manifest.clients)
    assert positions.min() >= 0 and positions.max() < 219664
    assert len(np.unique(positions)) == manifest.statistics['videos'] == (60505 if name == 'legacy' else 219664)


@pytest.fixture(scope='module')
def published_list(tmp_path_factory):
    file = tmp_path_factory.mktemp('kinetics') / 'train_in_official.txt'
    file.write_bytes(lzma.decompress((KINETICS / 'train_in_official.txt.xz').read_bytes()))
    return file


@needs_data
def test_the_published_iid_files_by_the_published_command(published_list, tmp_path):
    done = script('kinetics_json_splitter.py', '--input_path', published_list, '--out_path', tmp_path)
    assert done.returncode == 0 and 'the list is the 219,664 videos of' in done.stdout
    digests = dict(line.split()[::-1] for line in (KINETICS / 'fedvssl_client_files.sha256').read_text().splitlines())
    for number in range(1, 101):
        file = tmp_path / f'client_dist{number}.json'
        assert sha256(file.read_bytes()).hexdigest() == digests[f'iid/{file.name}']


@needs_data
def test_shipped_manifests_are_what_the_schemes_give(published_list):
    listed = read_named_list(published_list)
    reference = ReferenceList.load(DATA / 'list.npz')
    assert reference.sha256 == sha256(published_list.read_bytes()).hexdigest()
    assert reference.compare(listed.names, listed.classes).identical
    for name in ('iid', 'disjoint', 'legacy'):
        manifest = SplitManifest.load(DATA / f'{name}.npz')
        assert digest(divide(listed, manifest.scheme)) == digest(manifest.clients), name
