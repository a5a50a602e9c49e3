"""The protocol between a reader and its child, against a child that does not keep it."""

import io
import os
import sys
import textwrap

import numpy as np
import pytest

from fedvssl.video import BackendUnavailableError
from fedvssl.video.processes import child as child_module
from fedvssl.video.processes import wire
from fedvssl.video.processes.child import ChildGoneError, ChildProcess


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Returns a child that runs the given answer for each request."""
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), *sys.path]))
    made = []

    def make(answer: str) -> ChildProcess:
        (tmp_path / 'strange_child.py').write_text(textwrap.dedent("""
            import os, numpy as np
            from fedvssl.video.processes.serve import serve
            def handler(request):
                {}
            serve(handler)
            """).format(answer))
        made.append(ChildProcess('strange_child'))
        return made[-1]

    yield make
    for process in made:
        process.close()


def test_headers_travel():
    stream = io.BytesIO(wire.pack({'path': 'ä\udcff'}) + wire.pack({'n': 1}))
    assert wire.read_header(stream) == {'path': 'ä\udcff'}
    assert wire.read_header(stream) == {'n': 1}
    assert wire.read_header(stream) is None
    for text in (b'[]', b'{"payload": -1}', b'{"payload": "x"}', b'\xff', b'{'):
        with pytest.raises(ValueError):
            wire.unpack(text)


def test_answers_come_back_whole(child):
    process = child("return {'n': request['n']}, np.arange(request['n'], dtype=np.uint8)")
    for count in (0, 3, 200_000):
        header, payload = process.request({'n': count, 'filler': 'x' * 300_000}, 20, 200_000)
        assert header['n'] == count
        assert np.array_equal(payload, np.arange(count, dtype=np.uint8))


def test_what_the_child_prints_is_no_answer(child, capfd):
    process = child("print('noise'); os.write(1, b'noise'); os.write(2, b'noise'); return {'n': 1}, None")
    assert process.request({}, 20, 0)[0]['n'] == 1
    assert capfd.readouterr() == ('', '')


def test_an_exception_in_the_child_is_an_answer(child):
    header, _ = child("raise ValueError('no')").request({}, 20, 0)
    assert header['error'] == 'ValueError: no'


@pytest.mark.parametrize(('answer', 'reason'), [
    ("return {}, np.zeros(11, np.uint8)", 'no valid answer .ValueError: 11 bytes instead of 10'),
    ("os.write(3, b'') if 0 else os._exit(7)", 'the decoder died .exit code 7'),
    ("import time; time.sleep(60)", 'no answer within 0.5 s'),
])
def test_a_child_that_misbehaves_is_killed(answer, reason, child):
    process = child(answer)
    with pytest.raises(ChildGoneError, match=reason):
        process.request({}, 0.5 if 'sleep' in answer else 20, 10)
    assert process.pid is None


def test_a_child_that_cannot_start_is_nobodys_fault(tmp_path):
    with pytest.raises(BackendUnavailableError, match=r'does not start .exit code 1.: .*No module named'):
        ChildProcess('fedvssl.video.no_such_module').request({}, 20, 0)


def test_a_file_in_the_current_directory_is_no_module(child, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here/random.py').write_text('raise SystemExit("not this one")')
    monkeypatch.chdir(tmp_path / 'here')
    process = child('import random; return {"n": random.Random(1).randrange(5)}, None')
    assert process.request({}, 20, 0)[0]['n'] in range(5)


def test_what_the_child_logs_is_logged_here(child, caplog):
    process = child('import logging; logging.getLogger("fedvssl").warning("%d of %s", 3, "them"); return {}, None')
    process.request({}, 20, 0)
    assert caplog.text.count('3 of them') == 1
    process.request({}, 20, 0)
    assert caplog.text.count('3 of them') == 2


def test_an_answer_that_cannot_travel_is_an_error(child):
    process = child("return {'n': np.int64(3)}, None")
    assert 'int64' in process.request({}, 20, 0)[0]['error']
    pid = process.pid
    process.request({}, 20, 0)
    assert process.pid == pid


def test_time_in_which_nothing_runs_does_not_count(monkeypatch):
    """A suspended process wakes up behind every deadline; the answer may be there, or come at once."""
    clock, polls = [0.0], []

    class Poll:
        def register(self, pipe, event):
            pass

        def poll(self, milliseconds):
            polls.append(milliseconds)
            clock[0] += 1000.0 if len(polls) == 2 else milliseconds / 1000  # suspended in the second slice
            return len(polls) == 5

    monkeypatch.setattr(child_module.select, 'poll', Poll)
    monkeypatch.setattr(child_module.time, 'monotonic', lambda: clock[0])
    child_module._Budget(10.0).wait(0, 0)
    polls.clear()
    with pytest.raises(TimeoutError):
        child_module._Budget(3.5).wait(0, 0)
    assert polls == [1000, 1000, 1000, 500]
    for endless in (1e12, float('inf')):
        polls.clear()
        child_module._Budget(endless).wait(0, 0)
