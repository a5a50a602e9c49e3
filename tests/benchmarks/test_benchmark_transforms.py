"""The benchmark of the transforms: that it runs, what it reports, and that its chains are what they claim to be."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvssl.benchmarks import transforms
from fedvssl.benchmarks.transforms import FAITHFUL, REFERENCE, VARIANTS, OurChain, measure_transforms
from fedvssl.errors import ConfigError

STAGES = ['resize', 'crop', 'flip', 'paste', 'hue', 'brightness', 'contrast', 'normalise']


@pytest.fixture(scope='module')
def result():
    threads = torch.get_num_threads()
    found = measure_transforms(clips=5, repeats=2, source_size=(40, 30), compared=10, seed=3)
    assert torch.get_num_threads() == threads
    return json.loads(json.dumps(found))


def test_every_chain_is_measured_by_stage(result):
    names = [REFERENCE, *VARIANTS]
    assert list(result['cpu_ms_per_clip']) == list(result['stages_cpu_ms']) == names
    for name in names:
        cost, stages = result['cpu_ms_per_clip'][name], result['stages_cpu_ms'][name]
        assert cost['n'] == 2 and 0 < cost['min'] <= cost['median'] <= cost['max']
        assert [stage for stage in stages if stage != 'batch'] == [stage for stage in STAGES if stage != 'crop'
                                                                   or name != 'fast']
        assert ('batch' in stages) == (name != REFERENCE)
        assert all(value >= 0 for value in stages.values())
        assert sum(stages.values()) == pytest.approx(cost['median'], rel=0.5)
    assert list(result['times_faster_than_reference']) == list(VARIANTS)


def test_results_carry_their_circumstances(result):
    assert result['benchmark'] == 'transforms' and result['content'] == 'generated pictures' and result['videos'] == []
    setting = result['setting']
    assert (setting['clips'], setting['repeats'], setting['source_size'], setting['seed']) == (5, 2, [40, 30], 3)
    per_clip, per_batch = setting['variants']['fast']
    assert setting['batch_size'] == 4 and per_batch[0]['type'] == 'PastePatches' and per_batch[1]['fast']
    assert per_clip[0]['type'] == 'FastResizeCrop'
    assert result['environment']['packages']['torch'] and result['environment']['torch_threads'] == 1
    assert '31 MB' in result['note']


def test_differences_are_those_of_the_same_draws(result):
    assert list(result['difference_to_faithful']) == [name for name in VARIANTS if name != FAITHFUL]
    for difference in result['difference_to_faithful'].values():
        assert difference['clips'] == 10 and 0 < difference['mean'] < difference['largest'] <= 255


def test_our_chain_is_a_preprocessed_batch_named_by_its_draws():
    clips = list(np.random.default_rng(1).integers(256, size=(2, 16, 120, 130, 3), dtype=np.uint8))
    chain, laps = OurChain(), []
    inputs = chain.run(clips, laps.append, 7, 'a')
    assert inputs.shape == (2, 1, 3, 16, 112, 112) and inputs.dtype == torch.float32
    per_clip = ['resize', 'crop', 'flip', 'batch']
    assert laps == [*per_clip, *per_clip, 'batch', 'paste', 'hue', 'brightness', 'contrast', 'normalise']
    assert chain.run(clips, laps.append, 7, 'a').equal(inputs)
    assert not chain.run(clips, laps.append, 7, 'b').equal(inputs)
    batch = chain.batch(clips, 7, 'a')
    assert batch['inputs'].dtype == torch.uint8 and batch['inputs'].shape == (2, 1, 16, 112, 112, 3)
    assert chain.preprocessor(batch)['inputs'].equal(inputs)


def test_real_videos_are_read_in_the_wanted_size(tiny_videos, tmp_path):
    videos = tiny_videos / 'test'
    found = measure_transforms(clips=3, repeats=1, source_size=(60, 50), compared=2, videos=videos)
    assert found['content'] == 'real videos'
    assert found['videos'] and set(found['videos']) < {file.name for file in videos.iterdir()}  # the long ones
    with pytest.raises(ConfigError, match='holds no .mp4 or .avi of at least 48 frames'):
        measure_transforms(videos=tmp_path)


def test_numbers_must_be_positive():
    with pytest.raises(ConfigError, match='must be positive'):
        measure_transforms(clips=0)


def test_the_tool_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(transforms, 'measure_transforms', partial(measure_transforms, compared=4))
    monkeypatch.delenv('FEDVSSL_DATA', raising=False)
    out = tmp_path / 'transforms.json'
    options = ['transforms', '--clips', '2', '--repeats', '1', '--out', str(out), '--source-size']
    main = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / 'benchmark.py'))['main']
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *options, '36x30'])
    main()
    assert 'reference: median' in capsys.readouterr().out
    assert json.loads(out.read_text())['setting']['source_size'] == [36, 30]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *options, '36'])
    with pytest.raises(SystemExit):
        main()
    assert "'36' is not of the form WxH, e.g. 340x256" in capsys.readouterr().err
