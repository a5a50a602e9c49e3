"""Facts hold for an unchanged file and no longer; a damaged cache is begun anew, and one that is in use is not."""

import json
import os
import sqlite3

import pytest

from fedvssl.data import probe_cache
from fedvssl.data.probe_cache import ProbeCache, Signature, signature_of
from fedvssl.errors import StorageError
from fedvssl.video.probing.facts import Facts

SIGNATURE = Signature(False, 100, 5)
FACTS = Facts(full=True, backend='pyav', frames=40, declared=41, uneven=0.123456789, reason='ä "quoted"\n')


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'cache'


def kept(file, path, facts=FACTS, signature=SIGNATURE):
    with ProbeCache(file) as cache:
        cache.add_facts(path, signature, facts)
        cache.add_digest(path, signature, 'abc')


def looked_up(file, path, signature=SIGNATURE, quick=False, patience=60.0):
    with ProbeCache(file) as cache:
        return cache.facts(path, signature, quick, patience)


def test_facts_come_back_as_they_were(file, tmp_path):
    path = tmp_path / 'clip, ä [1].mp4'
    kept(file, path)
    assert looked_up(file, path) == FACTS
    assert looked_up(file, tmp_path / 'other.mp4') is None
    with ProbeCache(file) as cache:
        assert cache.digest(path, SIGNATURE) == 'abc'


@pytest.mark.parametrize('changed', [Signature(True, 100, 5), Signature(False, 101, 5), Signature(False, 100, 6)])
def test_a_changed_file_is_unknown(changed, file, tmp_path):
    kept(file, tmp_path)
    assert looked_up(file, tmp_path, changed) is None
    with ProbeCache(file) as cache:
        assert cache.digest(tmp_path, changed) is None


def test_facts_of_another_version_are_unknown(file, tmp_path, monkeypatch):
    kept(file, tmp_path)
    monkeypatch.setattr(probe_cache, 'VERSION', 2)
    assert looked_up(file, tmp_path) is None


def test_quick_facts_do_for_quick_questions(file, tmp_path):
    quick = Facts(full=False, frames=3)
    kept(file, tmp_path, quick)
    assert looked_up(file, tmp_path) is None
    assert looked_up(file, tmp_path, quick=True) == quick


def test_more_patience_is_another_try(file, tmp_path):
    hung = Facts(full=True, trouble='hangs', waited=60.0)
    kept(file, tmp_path, hung)
    assert looked_up(file, tmp_path, patience=60.0) == hung
    assert looked_up(file, tmp_path, patience=61.0) is None


def test_the_signature_of_files_and_directories(tmp_path):
    path = tmp_path / 'folder'
    assert signature_of(path) is None
    path.mkdir()
    (path / 'a').write_bytes(b'123')
    os.utime(path / 'a', ns=(7, 9))
    assert signature_of(path / 'a') == Signature(False, 3, 9)
    assert signature_of(path / 'a' / 'b') is None
    assert signature_of(path)[:2] == (True, 1)
    assert signature_of(path).bytes > signature_of(path / 'a').bytes
    (path / 'b').touch()
    assert signature_of(path)[:2] == (True, 2)


def test_results_are_written_as_they_come(file, tmp_path, monkeypatch):
    monkeypatch.setattr(probe_cache, '_FLUSH_SECONDS', 0.0)
    cache = ProbeCache(file)  # never closed: the examination was killed
    cache.add_facts(tmp_path, SIGNATURE, FACTS)
    assert looked_up(file, tmp_path) == FACTS


def damage_head(file):
    file.write_bytes(b'not a database' * 500)


def damage_middle(file):
    data = file.read_bytes()
    file.write_bytes(data[:1000] + b'\xff' * (len(data) - 1000))


def cut(file):
    file.write_bytes(file.read_bytes()[:5000])


def other_tables(file):
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.executescript('CREATE TABLE facts (x); CREATE TABLE digests (x);')


@pytest.mark.parametrize('damage', [damage_head, damage_middle, cut, other_tables])
def test_a_damaged_cache_is_said_and_begun_anew(damage, file, tmp_path, caplog):
    for number in range(50):
        kept(file, tmp_path / str(number))
    damage(file)
    with ProbeCache(file) as cache:
        for number in range(50):
            cache.facts(tmp_path / str(number), SIGNATURE, False, 60.0)
            cache.digest(tmp_path / str(number), SIGNATURE)
        cache.add_facts(tmp_path, SIGNATURE, FACTS)
    assert f'{file}: the cache is damaged' in caplog.text
    assert looked_up(file, tmp_path) == FACTS


def test_a_damaged_line_is_unknown(file, tmp_path):
    kept(file, tmp_path)
    for text in ('{', '{"colour": 1}', '[]', 'null'):
        with sqlite3.connect(file) as connection:
            connection.execute('UPDATE facts SET facts = ?', [text])
        assert looked_up(file, tmp_path) is None


def test_a_cache_in_use_is_not_destroyed(file, tmp_path):
    kept(file, tmp_path)
    with sqlite3.connect(file) as other:
        other.execute('BEGIN EXCLUSIVE')
        cache = None
        with pytest.raises(StorageError, match='is another examination running'):
            cache = ProbeCache(file, busy_seconds=0.1)
            cache.facts(tmp_path, SIGNATURE, False, 60.0)
        other.rollback()
    assert cache is None
    assert looked_up(file, tmp_path) == FACTS


def test_a_cache_that_cannot_be_made(tmp_path):
    with pytest.raises(StorageError, match='cannot be read or written'):
        ProbeCache(tmp_path / 'nowhere' / 'cache')


def test_facts_are_kept_as_json(file, tmp_path):
    kept(file, tmp_path)
    with sqlite3.connect(file) as connection:
        (text,), = connection.execute('SELECT facts FROM facts')
    assert json.loads(text)['frames'] == 40
