"""The protocol between a reader and its child, against a child that does not keep it."""

import io
import os
import sys
import textwrap

import numpy as np
import pytest

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


def test_a_child_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(ChildGoneError, match='the decoder died .exit code 1'):
        ChildProcess('fedvssl.video.no_such_module').request({}, 20, 0)
