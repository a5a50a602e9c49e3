"""The benchmark of image augmentation: that it runs, what it reports, and that its peers do what ours does."""

import importlib.util
import json
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvssl.benchmarks import augment
from fedvssl.benchmarks.augment import BARS, CASES, JITTER, measure_augment
from fedvssl.benchmarks.augment_peers import PillowPipeline, kornia_pipeline
from fedvssl.errors import ConfigError

KORNIA = importlib.util.find_spec('kornia') is not None


def images(batch=6, size=16):
    return torch.randint(256, (batch, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(scope='module')
def result():
    pytest.importorskip('PIL')
    threads = torch.get_num_threads()
    found = measure_augment(batch=6, size=16, batches=2, repeats=3, seed=5)
    assert torch.get_num_threads() == threads
    return json.loads(json.dumps(found))


def test_every_pipeline_is_measured(result):
    names = ['ours', 'pillow', 'lean pillow'] + KORNIA * ['kornia (slice)', 'kornia (resample)']
    assert list(result['cases']) == list(CASES)
    for case in result['cases'].values():
        assert list(case['views_per_second']) == names and list(case['times_faster']) == names[1:]
        for rate in (*case['views_per_second'].values(), *case['times_faster'].values()):
            assert rate['n'] == 3 and 0 < rate['min'] <= rate['median'] <= rate['max']


def test_bars_judge_the_faster_way_of_a_peer(result):
    for case in result['cases'].values():
        assert [bar['times_faster'] for bar in case['bars']] == list(BARS.values())[:2 + KORNIA]
        for bar in case['bars']:
            assert bar['measured'] == case['times_faster'][bar['than']]['median']
            assert bar['met'] == (bar['measured'] >= bar['times_faster'])
    summary = augment._summary({'ours': [1.0], 'pillow': [9.0], 'kornia (a)': [4.0], 'kornia (b)': [2.5]}, views=10)
    assert summary['views_per_second']['ours']['median'] == 10
    assert [(bar['than'], bar['measured'], bar['met']) for bar in summary['bars']] == [
        ('pillow', 9.0, True), ('kornia (b)', 2.5, False)]


def test_the_loss_is_measured_beside_it(result):
    found = result['nt_xent']
    assert (found['batch'], found['dimensions'], found['bar']) == (256, 128, 10) and found['cpu_ms']['n'] == 3
    assert found['met'] == (found['cpu_ms']['median'] <= 10) and found['cpu_ms']['min'] > 0


def test_results_carry_their_circumstances(result):
    setting = result['setting']
    assert (setting['batch'], setting['size'], setting['batches'], setting['repeats'], setting['seed']) == (
        6, 16, 2, 3, 5)
    assert [[op['type'] for op in view] for view in setting['views']] == [
        ['ResizedCrop', 'ColorJitter', 'Grayscale'], ['ResizedCrop', 'ColorJitter', 'Grayscale', 'GaussianBlur']]
    assert result['environment']['packages']['pillow'] and result['environment']['torch_threads'] == 1
    assert (result['missing'] is None) == KORNIA


def test_without_kornia_there_is_a_note(monkeypatch):
    pytest.importorskip('PIL')
    monkeypatch.setitem(sys.modules, 'kornia', None)
    found = measure_augment(batch=2, size=16, batches=1, repeats=1)
    assert 'pip install --no-deps kornia' in found['missing']
    assert all(list(case['times_faster']) == ['pillow', 'lean pillow'] for case in found['cases'].values())
    monkeypatch.setitem(sys.modules, 'PIL', None)
    with pytest.raises(ConfigError, match='pip install pillow'):
        measure_augment(batch=2, size=16, batches=1, repeats=1)


def test_numbers_must_be_positive():
    with pytest.raises(ConfigError, match='must be positive'):
        measure_augment(repeats=0)


@pytest.mark.parametrize('case', CASES)
def test_all_pipelines_make_alike_views(case):
    """Same shape and range; over many images, the mean and spread of ours are the peers', within 3 sigma or so."""
    pytest.importorskip('PIL')
    pipelines, _ = augment._pipelines(CASES[case], 16, seed=2)
    batch = images(1).expand(800, 16, 16, 3)
    views = {name: run(batch) for name, run in pipelines.items()}
    for view in views.values():
        assert view.shape == (800, 3, 16, 16) and view.dtype == torch.float32
        assert view.min() >= 0 and view.max() <= 1 + 1e-6
    light = {name: view.mean(dim=(1, 2, 3)).numpy() for name, view in views.items()}
    for name, values in light.items():
        assert values.mean() == pytest.approx(light['ours'].mean(), abs=0.02), name
        assert values.std() == pytest.approx(light['ours'].std(), rel=0.15), name
        grey = (views[name].amax(1) - views[name].amin(1)).amax(dim=(1, 2)) < 1e-3
        assert float(grey.double().mean()) == pytest.approx(0.2, abs=0.04), name


def test_pillows_hue_is_turned():
    pytest.importorskip('PIL')
    pillow = PillowPipeline(JITTER, 0.0, seed=0)
    red = pillow.image.fromarray(np.full((2, 2, 3), (255, 0, 0), dtype=np.uint8))
    assert np.asarray(pillow.turned(red, 1 / 3))[0, 0].tolist() == [0, 255, 0]
    assert np.asarray(pillow.turned(red, -1 / 3))[0, 0].tolist() == pytest.approx([0, 0, 255], abs=6)  # 8 bits


@pytest.mark.skipif(not KORNIA, reason='kornia is not installed')
def test_kornias_parameters_come_from_the_seed():
    first, again, other = (kornia_pipeline(JITTER, 0.5, 16, seed, 'slice')(images()) for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)


def test_the_tool_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip('PIL')
    monkeypatch.setattr(augment, 'measure_augment', partial(measure_augment, size=16, batches=1))
    out = tmp_path / 'augment.json'
    main = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / 'benchmark.py'))['main']
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'augment', '--batch', '4', '--repeats', '1', '--out', str(out)])
    main()
    written = json.loads(out.read_text())
    assert written['setting']['batch'] == 4 and written['setting']['repeats'] == 1
    printed = capsys.readouterr().out
    assert printed.count('ours: ') == len(CASES) and 'pillow: ' in printed and 'wanted 8' in printed
