"""The scripts as a user meets them: options, exit codes, what they print and leave behind."""

import shlex
import time
import zipfile

import pytest
from official_lists import hmdb_lists, rows_of, touch, ucf_lists, ucf_names

from fedvssl.cli import parse_options
from fedvssl.data.annotations import read_annotations

SCRIPTS = ['prepare_ucf101.py', 'prepare_hmdb51.py', 'prepare_kinetics400.py', 'prepare_folder.py']


@pytest.fixture
def ucf(tmp_path):
    return ('prepare_ucf101.py', '--lists', ucf_lists(tmp_path / 'lists'), '--videos',
            touch(tmp_path / 'my videos', *ucf_names()))


@pytest.mark.parametrize('name', SCRIPTS)
def test_help(script, name):
    start = time.monotonic()
    code, out, _ = script(name, '--help')
    assert code == 0
    assert f'python scripts/{name}' in out
    assert time.monotonic() - start < 10  # 0.5 s on a core of its own


def test_the_last_line_is_what_a_config_needs(script, ucf, tmp_path):
    code, out, err = script(*ucf)
    assert (code, err) == (0, '')
    options = parse_options(shlex.split(out.splitlines()[-1])[1:])
    assert options == {'data.root': str(tmp_path / 'my videos'), 'data.annotations': 'annotations.csv',
                       'data.split_column': 'split1'}


def test_a_list_elsewhere(script, ucf, tmp_path):
    file = tmp_path / 'lists of mine' / 'ucf.csv'
    code, out, _ = script(*ucf, '--out', file)
    assert code == 0
    assert f'its paths are relative to {tmp_path}/my videos: set data.root and data.annotations as below' in out
    options = parse_options(shlex.split(out.splitlines()[-1])[1:])
    assert options['data.annotations'] == str(file)
    assert len(read_annotations(file, options['data.root'])) == 9


def test_exit_codes(script, ucf, tmp_path):
    assert script(*ucf, '--out', tmp_path / 'x.txt')[0] == 2
    assert script(*ucf, '--prefer', 'avi')[0] == 2
    assert script('prepare_folder.py', tmp_path / 'my videos', '--by', 'label')[0] == 2
    assert script(*ucf[:2], tmp_path / 'no', *ucf[3:])[0] == 3
    (tmp_path / 'file').touch()
    code, _, err = script(*ucf, '--out', tmp_path / 'file' / 'x.csv')
    assert code == 6
    assert 'cannot be written' in err


def test_somebody_elses_list_is_not_replaced(script, ucf, tmp_path):
    file = tmp_path / 'my videos' / 'annotations.csv'
    file.write_text('path,label,site\nx.avi,0,ward3\n')
    code, _, err = script(*ucf)
    assert code == 6
    assert 'has other columns' in err
    assert rows_of(file)[0]['site'] == 'ward3'


def test_a_list_is_not_written_over_by_what_is_made_of_it(script, tmp_path):
    official = tmp_path / 'val.csv'
    official.write_text('label,youtube_id,time_start,time_end,split\ntai chi,AAAAAAAAAAA,0,10,val\n')
    root = touch(tmp_path / 'videos', 'AAAAAAAAAAA_000000_000010.mp4')
    assert script('prepare_kinetics400.py', '--lists', official, '--videos', root, '--out', official)[0] == 6
    assert official.read_text().startswith('label,youtube_id')


def test_archives_and_lists_in_one_go(script, tmp_path):
    archive = tmp_path / 'videos' / 'UCF101.zip'
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, 'w') as file:
        for name in ucf_names():
            file.writestr(f'UCF-101/{name}', b'video')
    arguments = ('prepare_ucf101.py', '--lists', ucf_lists(tmp_path / 'lists'), '--videos', archive.parent,
                 '--archives', archive)
    code, out, _ = script(*arguments)
    assert code == 0
    assert f'{archive}: 9 files written, 0 were there, 0 left out' in out
    assert 'UCF-101: 9 of 9 found' in out
    assert 'no list names' not in out
    first = (archive.parent / 'annotations.csv').read_bytes()
    assert 'was unpacked before' in script(*arguments)[1]
    assert (archive.parent / 'annotations.csv').read_bytes() == first


def test_wrong_lists_stop_before_anything_is_unpacked(script, tmp_path):
    archive = tmp_path / 'a.zip'
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('x.avi', b'')
    lists = hmdb_lists(tmp_path / 'lists')
    (lists / 'kick_test_split1.txt').write_text('x.avi 9\n')
    code, out, err = script('prepare_hmdb51.py', '--lists', lists, '--videos', tmp_path / 'v', '--archives', archive)
    assert (code, out) == (3, '')
    assert f'{lists}/kick_test_split1.txt:1: ' in err
    assert not (tmp_path / 'v').exists()


def test_a_folder_of_my_own(script, tmp_path):
    root = touch(tmp_path / 'mine', *(f'{person}/{label}/{number}.mp4' for person in 'abcdefgh'
                                      for label in ('walk', 'fall') for number in range(3)))
    code, out, _ = script('prepare_folder.py', root, '--levels', 'person', 'label', '--test-share', '0.4', '--by',
                          'person', '--seed', '3')
    assert code == 0
    assert 'test person: ' in out
    options = parse_options(shlex.split(out.splitlines()[-1])[1:])
    assert options['data.test.split'] == 'test'
    assert list(rows_of(root / 'annotations.csv')[0]) == ['path', 'label', 'class', 'person', 'split']
