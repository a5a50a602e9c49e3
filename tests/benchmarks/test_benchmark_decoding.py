"""The benchmark of decoding: that it runs, what it reports, and that it sees wrong frames."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvssl.benchmarks import decoding
from fedvssl.benchmarks.decoding import measure_decoding
from fedvssl.benchmarks.loader_files import Material, moving_pictures
from fedvssl.benchmarks.numbered import numbered, wrong_numbers
from fedvssl.errors import ConfigError
from fedvssl.video import BackendUnavailableError

TINY = Material(frames=60, size=(120, 80), large=(150, 100), short_side=64)


def measured(**arguments):
    return measure_decoding(**dict(clips=2, repeats=1, material=TINY, backends=['pyav']) | arguments)


def test_every_backend_is_measured_on_every_file():
    reported = []
    result = json.loads(json.dumps(measured(backends=['auto', 'decord'], threads=(1, 2),
                                            report=lambda *names_and_result: reported.append(names_and_result))))
    assert result['benchmark'] == 'decoding' and result['device'] == 'cpu'
    assert list(result['files']) == ['g12', 'intra', '720p'] and result['files']['g12']['bar_frames_per_second'] == 8000
    assert [names[:2] for names in reported] == [(file, name) for file in result['files'] for name in
                                                 ('auto', 'decord')]
    for file in result['files'].values():
        assert file['bytes'] > 0 and [found['ran'] for found in file['backends'].values()] == ['pyav', 'decord']
        for found in file['backends'].values():
            assert (found['wrong_frames'], found['frames_checked'], found['fell_back']) == (0, 60 + 2 * 16, False)
            assert [rate['threads'] for rate in found['by_threads']] == [1, 2]
            for rate in found['by_threads']:
                for key in ('decoded_frames_per_second', 'clips_per_second', 'cpu_ms_per_clip'):
                    assert rate[key]['n'] == 1 and rate[key]['median'] > 0
    assert result['environment']['packages']['av'] and result['setting']['threads'] == [1, 2]


def changed(monkeypatch, change):
    """Lets readers return `change(reader, request)`; returns with which options they are opened."""
    opened, options = decoding.open_video, []

    def changing(path, backend, indices, **more):
        options.append(more)
        reader = opened(path, backend, indices=indices)
        get = reader.get
        reader.get = lambda request: change(get, request)
        return reader

    monkeypatch.setattr(decoding, 'open_video', changing)
    return options


def test_a_reader_that_is_one_frame_off_is_wrong(monkeypatch):
    changed(monkeypatch, lambda get, request: get([max(number - 1, 0) for number in request]))
    for file in measured()['files'].values():
        assert file['backends']['pyav']['wrong_frames'] == 60 + 2 * 16 - 1  # the first frame has none before it


def test_frames_on_a_device_are_copied_and_a_decoder_on_the_cpu_is_named(monkeypatch):
    options = changed(monkeypatch, lambda get, request: torch.from_numpy(get(request)))
    monkeypatch.setattr(decoding, '_check_device', lambda device: None)
    for file in measured(device='cuda', backends=['auto'])['files'].values():
        found = file['backends']['auto']
        assert (found['ran'], found['fell_back'], found['wrong_frames']) == ('pyav', True, 0)
    assert options and all(more == dict(device='cuda') for more in options)


def test_a_backend_that_cannot_run_says_so(monkeypatch):
    def missing(*arguments, **options):
        raise BackendUnavailableError('pyav', 'no such library', 'pip install it')

    monkeypatch.setattr(decoding, 'open_video', missing)
    assert 'no such library' in measured()['files']['g12']['backends']['pyav']['error']


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_without_a_gpu_none_is_measured():
    with pytest.raises(ConfigError, match='--device cuda: torch .* finds no CUDA device; take --device cpu'):
        measure_decoding('cuda')


def test_arguments_are_checked():
    for name in ('pyaf', 'zip-jpeg'):
        with pytest.raises(ConfigError, match=f'--backends {name}: no such video backend'):
            measure_decoding(backends=[name])
    with pytest.raises(ConfigError, match=r'must be positive, not \(1, 0\), 64 and 5'):
        measure_decoding(threads=(1, 0), clips=64, repeats=5)


def test_numbers_are_read_off_frames():
    frames = np.stack(list(numbered(moving_pictures(4096, (36, 24)))))[::97]
    numbers = range(0, 4096, 97)
    assert wrong_numbers(frames, numbers) == 0
    assert wrong_numbers(frames[1:], numbers[:-1]) == len(numbers) - 1
    assert wrong_numbers((frames[:1] // 2 + frames[1:2] // 2), [0]) == 1


def test_the_tool_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoding, 'measure_decoding', partial(measure_decoding, material=TINY))
    out = tmp_path / 'decoding.json'
    main = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / 'benchmark.py'))['main']
    options = ['--backends', 'pyav', '--clips', '1', '--repeats', '1', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'decoding', *options])
    main()
    assert 'g12, pyav (ran: pyav): 0 of 76 frames wrong\n  1 threads: ' in capsys.readouterr().out
    assert json.loads(out.read_text())['files']['720p']['backends']['pyav']['wrong_frames'] == 0
