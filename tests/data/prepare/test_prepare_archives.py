import errno
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from stored_rar import rar

from fedvssl.data.prepare import archives
from fedvssl.data.prepare.archives import MEMORY, unpack
from fedvssl.errors import StorageError

FILES = {'UCF-101/A/v_A_g01_c01.avi': b'a' * 3000, 'UCF-101/A/v_A_g01_c02.avi': b'b' * 10, 'zips/c.zip': b'frames',
         'raw/d/img_00001.jpg': b'jpeg', 'README.txt': b'text', '__MACOSX/A/x.avi': b'', 'A/.hidden.avi': b'h'}
TAKEN = {'UCF-101/A/v_A_g01_c01.avi', 'UCF-101/A/v_A_g01_c02.avi', 'zips/c.zip', 'raw/d/img_00001.jpg'}


def zipped(file, files, **attributes):
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes.get('mode', 0o100644) << 16
            archive.writestr(info, data)
    return file


def tarred(file, files, kind=tarfile.REGTYPE, link='', mode='w:gz'):
    with tarfile.open(file, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o000
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return file


def there(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob('*') if path.is_file() and path.name != MEMORY}


@pytest.fixture(params=['zip', 'tar.gz', 'tar', 'rar'])
def archive(request, tmp_path, fake_unrar):
    file = tmp_path / f'a.{request.param}'
    if request.param == 'rar':
        file.write_bytes(rar(FILES))
        return file
    if request.param == 'zip':
        return zipped(file, FILES)
    return tarred(file, FILES, mode='w:gz' if file.suffix == '.gz' else 'w')


def test_only_videos_zips_and_images_are_taken(archive, tmp_path):
    out = tmp_path / 'out'
    done, = unpack([archive], out)
    assert there(out) == {name: FILES[name] for name in TAKEN}
    assert (done.written, done.there, done.left_out, done.known) == (4, 0, 1, False)
    assert str(done) == f'{archive}: 4 files written, 0 were there, 1 left out'
    assert all(path.stat().st_mode & stat.S_IRUSR for path in out.rglob('*'))


def test_a_finished_archive_is_remembered_by_name_size_and_time(archive, tmp_path):
    out = tmp_path / 'out'
    list(unpack([archive], out))
    (out / 'UCF-101/A/v_A_g01_c01.avi').unlink()
    done, = unpack([archive], out)
    assert done.known
    assert 'was unpacked before' in str(done)
    os.utime(archive, ns=(1, 1))
    done, = unpack([archive], out)
    assert (done.known, done.written, done.there) == (False, 1, 3)


def test_archives_of_one_name_are_told_apart(tmp_path):
    """Kinetics has train/part_0.tar.gz and val/part_0.tar.gz."""
    parts = []
    for name in ('train', 'val'):
        (tmp_path / name).mkdir()
        parts.append(tarred(tmp_path / name / 'part_0.tar.gz', {f'{name}.mp4': name.encode()}))
    assert [done.written for done in unpack(parts, tmp_path / 'out')] == [1, 1]
    assert [done.known for done in unpack(parts, tmp_path / 'out')] == [True, True]


@pytest.mark.parametrize('memory', ['{', '{"a.zip": [1]}', '[3, null]', '7'])
def test_a_damaged_memory_costs_nothing_but_time(tmp_path, memory):
    archive, out = zipped(tmp_path / 'a.zip', FILES), tmp_path / 'out'
    list(unpack([archive], out))
    (out / MEMORY).write_text(memory)
    done, = unpack([archive], out)
    assert (done.known, done.written, done.there) == (False, 0, 4)


@pytest.mark.parametrize('damaged', [b'b' * 9, b'b' * 11, b'b' * 9 + b'x', b'x' + b'b' * 9, b'x' * 10, bytes(10)])
def test_what_is_there_is_written_again_only_where_it_differs(archive, tmp_path, monkeypatch, damaged):
    monkeypatch.setattr(archives, '_CHUNK', 4)
    out = tmp_path / 'out'
    kept, broken = out / 'UCF-101/A/v_A_g01_c01.avi', out / 'UCF-101/A/v_A_g01_c02.avi'
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b'a' * 3000)
    broken.write_bytes(damaged)
    inode = kept.stat().st_ino
    done, = unpack([archive], out)
    assert (done.written, done.there) == (3, 1)
    assert kept.stat().st_ino == inode
    assert there(out) == {name: FILES[name] for name in TAKEN}


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    archive, out = zipped(tmp_path / 'a.zip', FILES), tmp_path / 'out'
    copies = []

    def failing(source, target, length):
        if len(copies) == 2:
            target.write(source.read(2))
            raise KeyboardInterrupt
        copies.append(target.name)
        shutil.copyfileobj(source, target, length)

    class Shutil:
        copyfileobj, rmtree = staticmethod(failing), staticmethod(shutil.rmtree)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archives, 'shutil', Shutil)
        list(unpack([archive], out))
    assert len(there(out)) == 2  # no half-written file, no temporary one
    done, = unpack([archive], out)
    assert (done.written, done.there) == (2, 2)
    assert there(out) == {name: FILES[name] for name in TAKEN}


def flipped(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize('kind', ['gz', 'xz', 'bz2'])
def test_nothing_is_taken_of_a_damaged_tar_and_the_intact_one_repairs(tmp_path, refused, kind):
    """Only the checksum at the stream's end tells what one bit does to data that cannot be compressed."""
    videos = {f'{number}.avi': random.Random(number).randbytes(50_000) for number in range(3)}
    file, out = tarred(tmp_path / f'a.tar.{kind}', videos, mode=f'w:{kind}'), tmp_path / 'out'
    intact = file.read_bytes()
    flipped(file, len(intact) // 2)
    for _ in range(2):  # it is not remembered either
        message = refused(lambda: list(unpack([file], out)))
        assert f'a.tar.{kind}: damaged or not complete' in message
        assert 'download it again' in message
        assert list(out.iterdir()) == []
    for name, data in videos.items():  # as one has it who unpacked that by other means
        (out / name).write_bytes(data[:25_000] + b'?' + data[25_001:])
    (out / '0.avi').write_bytes(videos['0.avi'])
    file.write_bytes(intact)
    done, = unpack([file], out)
    assert (done.known, done.written, done.there) == (False, 2, 1)
    assert there(out) == videos


def test_the_end_of_a_stream_is_verified_where_all_members_are_whole(tmp_path, refused):
    file = tarred(tmp_path / 'a.tar.gz', {'x.avi': b'x'})
    flipped(file, -6)  # in the checksum
    assert 'CRC check failed' in refused(lambda: list(unpack([file], tmp_path / 'out')))
    assert there(tmp_path / 'out') == {}


def test_a_tar_without_its_end_is_not_complete(tmp_path, refused):
    file, out = tarred(tmp_path / 'a.tar', {'x.avi': b'x' * 512, 'y.avi': b'y' * 512}, mode='w'), tmp_path / 'out'
    whole = file.read_bytes()
    for length in (1024, 1024 + 100, 1024 + 512, 1024 + 512 + 100, 2048, 2048 + 100):
        file.write_bytes(whole[:length])
        assert 'a.tar: damaged or not complete' in refused(lambda: list(unpack([file], out)))
        assert list(out.iterdir()) == []
    file.write_bytes(whole)
    flipped(file, 1024 + 10)  # the header of the second member
    assert 'a.tar: damaged or not complete' in refused(lambda: list(unpack([file], out)))
    file.write_bytes(whole[:2048 + 512])
    done, = unpack([file], out)
    assert done.written == 2


def test_an_empty_tar_is_complete(tmp_path):
    done, = unpack([tarred(tmp_path / 'a.tar.xz', {}, mode='w:xz')], tmp_path / 'out')
    assert (done.written, done.known) == (0, False)


def test_a_full_disk_is_no_damage(tmp_path, refused, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(archives, 'fsync', full)
    file = tarred(tmp_path / 'a.tar.bz2', {'x.avi': b'x'}, mode='w:bz2')
    assert 'No space left' in refused(lambda: list(unpack([file], tmp_path / 'out')), error=StorageError)


@pytest.mark.parametrize('damage', [b'', b'a' * 2999 + b'?', bytes(3000)])
def test_a_killed_run_goes_on_and_trusts_no_size(archive, tmp_path, damage):
    out = tmp_path / 'out'
    code = f"""
import os, signal
from pathlib import Path
from fedvssl.data.prepare import archives
place, placed = archives._Work._place, []
def dying(*arguments):
    if len(placed) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    placed.append(place(*arguments))
    return placed[-1]
archives._Work._place = dying
list(archives.unpack([Path({str(archive)!r})], Path({str(out)!r})))
"""
    assert subprocess.run([sys.executable, '-c', code], timeout=60).returncode == -signal.SIGKILL
    assert not (out / MEMORY).exists()
    if damage:  # what a power cut could make of it
        (out / 'UCF-101/A/v_A_g01_c01.avi').write_bytes(damage)
    done, = unpack([archive], out)
    assert (done.known, done.written, done.there) == (False, 3, 1) if damage else (False, 2, 2)
    assert there(out) == {name: FILES[name] for name in TAKEN}


def test_what_is_remembered_is_on_the_disk(archive, tmp_path, monkeypatch):
    out, synced, renamed = tmp_path / 'out', [], []
    real, replace = os.fsync, Path.replace

    def noting(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    def renaming(path, target):
        assert path.stat().st_ino in synced, path
        renamed.append(target.name)
        if target.name == MEMORY:
            assert {folder.stat().st_ino for folder in (out, out / 'UCF-101', out / 'UCF-101/A')} <= set(synced)
        return replace(path, target)

    monkeypatch.setattr(os, 'fsync', noting)
    monkeypatch.setattr(Path, 'replace', renaming)
    list(unpack([archive], out))
    assert renamed[-1] == MEMORY
    assert {Path(name).name for name in TAKEN} == set(renamed[:-1])
    assert not list(out.glob(f'*{MEMORY}*.tmp'))


@pytest.mark.parametrize(('name', 'reason'), [
    ('/etc/x.avi', 'is absolute'), ('../x.avi', 'contains ".."'), ('a/../../x.avi', 'contains ".."'),
    ('a\\..\\x.avi', 'contains ".."'), ('C:\\x.avi', 'is absolute'), ('a/\x1bx.avi', 'unprintable')])
@pytest.mark.parametrize('kind', ['zip', 'tar.gz', 'rar'])
def test_names_that_lead_elsewhere_are_refused(tmp_path, refused, fake_unrar, kind, name, reason):
    file = tmp_path / f'a.{kind}'
    if kind == 'rar':
        file.write_bytes(rar({name: b'x'}))
    else:
        (zipped if kind == 'zip' else tarred)(file, {name: b'x'})
    message = refused(lambda: list(unpack([file], tmp_path / 'deep' / 'out')))
    assert 'its member ' in message
    assert reason in message
    assert there(tmp_path) == {file.name: file.read_bytes(), 'bin/unrar': fake_unrar.read_bytes()}


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, refused, kind):
    file = tarred(tmp_path / 'a.tgz', {'x.avi': b''}, kind, '/etc/passwd')
    assert "its member 'x.avi' is a link or a device" in refused(lambda: list(unpack([file], tmp_path / 'out')))


def test_links_in_zip_and_rar_are_refused(tmp_path, refused, fake_unrar):
    file = zipped(tmp_path / 'a.zip', {'x.avi': b'/etc/passwd'}, mode=stat.S_IFLNK | 0o777)
    assert "'x.avi' is a link" in refused(lambda: list(unpack([file], tmp_path / 'out')))
    (tmp_path / 'b.rar').write_bytes(rar({'link.avi': b'/etc/passwd'}))
    assert "'link.avi' is a link" in refused(lambda: list(unpack([tmp_path / 'b.rar'], tmp_path / 'out')))
    assert there(tmp_path / 'out') == {}


@pytest.mark.parametrize('kind', ['symbolic', 'hard'])
def test_a_link_from_a_rar_is_not_followed(tmp_path, refused, fake_unrar, kind):
    """It shows when the archive was unpacked; nothing leaves the scratch directory then."""
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'outside/x.avi').write_bytes(b'mine')
    name = {'symbolic': 'link', 'hard': 'link.avi'}[kind]
    if kind == 'hard':
        fake_unrar.write_text(fake_unrar.read_text().replace('symlink_to', 'hardlink_to'))
    leads_to = {'symbolic': 'outside', 'hard': 'outside/x.avi'}[kind]
    (tmp_path / 'a.rar').write_bytes(rar({'a.avi': b'a', name: str(tmp_path / leads_to).encode()}))
    out = tmp_path / 'out'
    assert f'{name!r} is a link' in refused(lambda: list(unpack([tmp_path / 'a.rar'], out)))
    assert list(out.iterdir()) == []
    assert (tmp_path / 'outside/x.avi').read_bytes() == b'mine'


@pytest.mark.parametrize('fields', ['Attributes = A_ lrwxrwxrwx', 'Attributes = lrwxrwxrwx', 'Mode = lrwxrwxrwx',
                                    'Symbolic Link = /etc', 'Hard Link = a.avi'])
def test_a_link_that_7zip_lists_is_refused_before_it_is_unpacked(tmp_path, refused, fake_unrar, fields):
    program = fake_unrar.rename(fake_unrar.with_name('7z'))
    called = tmp_path / 'called'
    program.write_text(f"""#!/bin/sh
echo $1 >> '{called}'
echo 'Path = a.avi
Attributes = A_ -rw-r--r--
Symbolic Link =

Path = b/c.avi
Size = 4
{fields}
'""")
    (tmp_path / 'a.rar').write_bytes(b'read by that program')
    assert "'b/c.avi' is a link" in refused(lambda: list(unpack([tmp_path / 'a.rar'], tmp_path / 'out')))
    assert called.read_text() == 'l\n'


def test_nothing_is_written_through_a_link_that_is_there(tmp_path, refused):
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'UCF-101').symlink_to(tmp_path / 'outside')
    message = refused(lambda: list(unpack([zipped(tmp_path / 'a.zip', FILES)], tmp_path / 'out')))
    assert 'leads out of' in message
    assert list((tmp_path / 'outside').iterdir()) == []


def test_damaged_archives_are_named(tmp_path, refused, fake_unrar):
    noise = os.urandom(100_000)
    zipped(tmp_path / 'crc.zip', {'x.avi': noise})
    data = bytearray((tmp_path / 'crc.zip').read_bytes())
    data[5000] ^= 1
    (tmp_path / 'crc.zip').write_bytes(data)
    whole = tarred(tmp_path / 'whole.tar.gz', {'x.avi': noise, 'y.avi': noise}).read_bytes()
    (tmp_path / 'cut.tar.gz').write_bytes(whole[:120_000])
    for name in ('text.zip', 'text.tar', 'text.tar.gz', 'text.rar'):
        (tmp_path / name).write_text('not an archive at all' * 20)
    for name in ('crc.zip', 'cut.tar.gz', 'text.zip', 'text.tar', 'text.tar.gz', 'text.rar'):
        message = refused(lambda: list(unpack([tmp_path / name], tmp_path / 'out')))  # noqa: B023
        assert name in message
        assert 'download it again' in message
    assert there(tmp_path / 'out') == {}
    assert 'check the path' in refused(lambda: list(unpack([tmp_path / 'no.zip'], tmp_path / 'out')))
    assert 'known are .zip' in refused(lambda: list(unpack([fake_unrar], tmp_path / 'out')))


def test_rars_in_a_rar(tmp_path, fake_unrar):
    """As HMDB51 is published."""
    hair, wave = ({f'{name}/{name}_{number}#(x).avi': b'v' * number for number in range(3)}
                  for name in ('brush_hair', 'wave'))
    outer = tmp_path / 'hmdb51_org.rar'
    outer.write_bytes(rar({'brush_hair.rar': rar(hair), 'more/wave.rar': rar(wave)}))
    out = tmp_path / 'out'
    done, = unpack([outer], out)
    assert (done.written, done.left_out) == (6, 0)
    assert there(out) == hair | {f'more/{name}': data for name, data in wave.items()}
    assert sorted(path.name for path in out.iterdir()) == [MEMORY, 'brush_hair', 'more']


def test_finished_inner_archives_are_remembered_too(tmp_path, refused, fake_unrar):
    outer = tmp_path / 'hmdb51_org.rar'
    good = rar({'brush_hair/a.avi': b'v'})
    outer.write_bytes(rar({'brush_hair.rar': good, 'wave.rar': b'damaged'}))
    out = tmp_path / 'out'
    assert 'wave.rar: could not be unpacked (unrar: exit code 1' in refused(lambda: list(unpack([outer], out)))
    (out / 'brush_hair/a.avi').unlink()
    outer.write_bytes(rar({'brush_hair.rar': good, 'wave.rar': rar({'wave/b.avi': b'v'})}))
    done, = unpack([outer], out)
    assert (done.written, set(there(out))) == (1, {'wave/b.avi'})


def test_archives_in_archives_end_somewhere(tmp_path, refused):
    file = tarred(tmp_path / '0.tar', {'x.avi': b'x'}, mode='w')
    for number in range(1, 6):
        file = tarred(tmp_path / f'{number}.tar', {file.name: file.read_bytes()}, mode='w')
    assert 'more than 3 deep' in refused(lambda: list(unpack([file], tmp_path / 'out')))


def test_no_program_for_rar(tmp_path, refused, monkeypatch):
    (tmp_path / 'a.rar').write_bytes(rar(FILES))
    monkeypatch.setenv('PATH', str(tmp_path))
    message = refused(lambda: list(unpack([tmp_path / 'a.rar'], tmp_path / 'out')))
    assert 'needs one of unrar, 7z, 7zz, bsdtar, unar; install one' in message
    assert 'unpack it by hand below --videos' in message


def test_the_next_program_is_tried(tmp_path, fake_unrar):
    (tmp_path / 'a.rar').write_bytes(rar(FILES))
    text = fake_unrar.read_text()
    fake_unrar.write_text('#!/bin/sh\necho no RAR codec >&2\nexit 2\n')
    bsdtar = fake_unrar.with_name('bsdtar')  # takes "-tf ARCHIVE" and "-x ... -f ARCHIVE -C TARGET"
    bsdtar.write_text(text.replace("command == 'lb'", "command == '-tf'").replace("command == 'x'", "command == '-x'"))
    bsdtar.chmod(0o755)
    done, = unpack([tmp_path / 'a.rar'], tmp_path / 'out')
    assert done.written == 4


def test_what_cannot_be_written_is_a_storage_error(tmp_path, refused):
    (tmp_path / 'out').write_text('a file')
    assert 'could not be unpacked into' in refused(
        lambda: list(unpack([zipped(tmp_path / 'a.zip', FILES)], tmp_path / 'out')), error=StorageError)


def test_an_encrypted_zip_is_named(tmp_path, refused):
    file = zipped(tmp_path / 'a.zip', {'x.avi': b'x'})
    data = file.read_bytes().replace(b'PK\x01\x02\x14\x03\x14\x00\x00', b'PK\x01\x02\x14\x03\x14\x00\x01')
    file.write_bytes(data)
    assert 'is encrypted' in refused(lambda: list(unpack([file], tmp_path / 'out')))
