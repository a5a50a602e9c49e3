"""The benchmark of loading: that it runs, what it reports, and that it sees wrong frames."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fedvssl.benchmarks import loader
from fedvssl.benchmarks.frame_check import Shown, wrong_frames
from fedvssl.benchmarks.lanes import in_turn
from fedvssl.benchmarks.loader import measure_loader, wrong_by_side
from fedvssl.benchmarks.loader_cases import CASES, CROP, TUPLE
from fedvssl.benchmarks.loader_contestants import contestants, drawn
from fedvssl.benchmarks.loader_files import MAKERS, Files, Material, all_frames, moving_pictures
from fedvssl.benchmarks.loader_reference import PublishedZip, Stock
from fedvssl.errors import ConfigError
from fedvssl.video.readers.pyav import PyAVReader

TINY = Material(frames=72, size=(84, 64), large=(120, 90), short_side=48)


@pytest.fixture(scope='module')
def result(tiny_videos):  # which has started the fork server with what other tests need
    reported = []
    found = measure_loader(['raw-g12', 'vcop-zip', 'geometry'], clips=2, repeats=1, material=TINY,
                           report=lambda name, case: reported.append((name, case)))
    assert reported == list(found['cases'].items())
    return json.loads(json.dumps(found))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp('files'), material=TINY)


def test_every_side_is_measured_against_the_first(result):
    sides = {name: list(case['cpu_ms_per_clip']) for name, case in result['cases'].items()}
    ours = ['faithful', 'fast', 'cold', 'worker']
    assert sides == {'raw-g12': ['stock', *ours], 'vcop-zip': ['published', *ours], 'geometry': ['stock', *ours[:2]]}
    for case in result['cases'].values():
        other, *variants = case['cpu_ms_per_clip']
        assert case['against'] == other and list(case['times_faster']) == variants
        for name in variants:
            cost, faster = case['cpu_ms_per_clip'][name], case['times_faster'][name]
            assert cost['n'] == 1 and 0 < cost['min'] <= cost['median'] <= cost['max']
            assert faster['median'] == pytest.approx(case['cpu_ms_per_clip'][other]['median'] / cost['median'])


def test_bars_are_for_the_published_pixels_where_there_is_a_choice(result):
    assert {name: (case['bar'], case['judged']) for name, case in result['cases'].items()} == {
        'raw-g12': (1.4, 'faithful'), 'vcop-zip': (1.6, 'faithful'), 'geometry': (2, 'fast')}
    for case in result['cases'].values():
        assert case['met'] == (case['times_faster'][case['judged']]['median'] >= case['bar'])


def test_every_clip_is_checked(result):
    assert [case['frames_checked'] for case in result['cases'].values()] == [2 * 16, 2 * 48, 0]
    for name in ('raw-g12', 'vcop-zip'):
        case = result['cases'][name]
        assert case['wrong_frames'] == dict.fromkeys(case['cpu_ms_per_clip'], 0)


def test_results_carry_their_circumstances(result):
    assert result['benchmark'] == 'loader' and result['content'] == 'generated pictures'
    assert result['setting']['clips'] == 2 and result['setting']['material']['size'] == [84, 64]
    assert result['environment']['packages']['decord'] and result['environment']['torch_threads'] == 1
    assert list(result['files']) == ['g12', 'ctp-zip']
    assert all(facts['bytes'] > 0 and facts['cpu_seconds'] > 0 for facts in result['files'].values())
    known = result['cases']['vcop-zip']['known']
    assert known['cpu_ms'] == [37.8, 37.8] and known['within_a_quarter'] in (False, True)


def test_a_reader_that_is_one_frame_off_is_wrong(files, tmp_path, monkeypatch):
    decode = PyAVReader._decode
    monkeypatch.setattr(PyAVReader, '_decode', lambda self, wanted, size: decode(self, wanted - 1, size))
    case, file = CASES['raw-g12'], files['g12']
    sides = contestants(case, file, file, tmp_path, 2, TINY.frames)
    wrong = wrong_by_side(sides, file, file, TINY.frames)
    ours = wrong.pop('faithful')
    assert ours >= 30 and wrong == dict(stock=0, worker=0, cold=ours, fast=ours)  # the worker has a reader of its own


@pytest.mark.parametrize(('name', 'frames', 'size'), [
    ('g12', 72, (64, 84)), ('g250', 72, (64, 84)), ('xvid', 72, (64, 84)), ('720p', 72, (90, 120)),
    ('original', 72, (64, 84)), ('intra', 72, (48, 64)), ('prepared-g12', 72, (48, 64)), ('mjpeg', 72, (48, 64)),
    ('jpeg-zip', 72, (48, 64)), ('ctp-zip', 72, (64, 84))])
def test_files_are_as_long_and_large_as_they_should_be(files, name, frames, size):
    shapes = [frame.shape for frame in all_frames(files[name])]
    assert shapes == frames * [(*size, 3)]
    assert files.facts[name]['bytes'] == files[name].stat().st_size


def test_files_cover_all_cases():
    assert {file for case in CASES.values() for file in (case.ours, case.theirs)} <= set(MAKERS)


def test_real_videos_that_are_missing_are_named(tmp_path):
    with pytest.raises(ConfigError, match='mmaction2_test.mp4: no such file; without FEDVSSL_DATA'):
        Files(tmp_path, videos=tmp_path / 'none')['original']


def moving(frames=12):
    return np.stack(list(moving_pictures(frames, (48, 40))))


def test_frames_are_recognised_whatever_became_of_them():
    video = moving()
    indices = np.array([3, 5, 5, 0])
    darker = (video[indices] * 0.98).astype(np.uint8)
    halves = [Shown(video[indices][:, ::2], indices, lambda frames: frames[:, ::2])]
    assert wrong_frames(video, [Shown(video[indices], indices), Shown(darker, indices), *halves]) == 0
    assert wrong_frames(video, [Shown(video[indices], indices + 1)]) == 4
    assert wrong_frames(video, [Shown(video[indices], np.array([3, 5, 99, 0]))]) == 1
    assert wrong_frames(np.repeat(video[:1], 12, axis=0), [Shown(video[:1], np.array([7]))]) == 0


def test_the_published_way_gives_normalised_crops_of_the_same_frames(files):
    indices, _ = drawn(TUPLE, TINY.frames, 0)
    assert sorted(indices[:, 0] - indices.min()) == [0, 24, 48]
    way = PublishedZip((171, 128), CROP)
    clip = way.load(files['ctp-zip'], indices)
    assert clip.shape == (3, 3, 16, CROP, CROP)
    frames = way.frames(files['ctp-zip'], indices[1][:2])
    assert np.abs(frames[1].astype(int) - np.stack(list(all_frames(files['ctp-zip'])))[indices[1][1]]).max() == 0
    mean = frames.mean(axis=(0, 1, 2)) / 255
    expected = (mean - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert clip[1, :, :2].mean(dim=(1, 2, 3)).numpy() == pytest.approx(expected, abs=0.35)


def test_mmaction2_shapes_a_tuple(files):
    indices = np.arange(8).reshape(2, 4)
    clips = Stock((171, 128), CROP, flip=False).load(files['g12'], indices)
    assert clips.shape == (2, 3, 4, CROP, CROP) and clips.dtype == np.uint8


class Failing:
    def begin(self, repeat):
        raise ValueError('no clips')


def test_what_goes_wrong_in_a_process_is_said(tiny_videos):
    with pytest.raises(RuntimeError, match='in a process of the benchmark: (?s:.*)ValueError: no clips'):
        in_turn(dict(it=Failing()), clips=1, repeats=1)


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="no case 'raw-g13'; did you mean 'raw-g12'"):
        measure_loader(['raw-g13'])
    with pytest.raises(ConfigError, match='must be positive, not 0 and 5'):
        measure_loader(clips=0)


def test_the_tool_writes_what_it_prints(tiny_videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loader, 'measure_loader', partial(measure_loader, material=TINY))
    monkeypatch.delenv('FEDVSSL_DATA', raising=False)
    out = tmp_path / 'loader.json'
    main = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / 'benchmark.py'))['main']
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'loader', '--cases', 'geometry', '--clips', '1', '--repeats', '2',
                                      '--out', str(out)])
    main()
    printed = capsys.readouterr().out
    assert 'geometry (resize, crop and flip alone): stock ' in printed and '; wanted: 2' in printed
    assert json.loads(out.read_text())['cases']['geometry']['times_faster']['fast']['n'] == 2
