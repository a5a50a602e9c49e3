"""``tools/evaluate.py`` as a user meets it."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from fedvssl.cli import run_tool
from fedvssl.config import from_dict
from fedvssl.models import build_model
from tests.conftest import tiny_finetuning_values

TOOL = Path(__file__).parents[2] / 'tools/evaluate.py'


@pytest.fixture
def evaluate(tiny_videos, tmp_path, monkeypatch, capsys):
    """Runs the tool in this process, since the imports take seconds; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'leaf.py'
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in tiny_finetuning_values(tiny_videos).items()))

    def run(task, *arguments):
        monkeypatch.setattr(sys, 'argv', ['evaluate.py', task, 'leaf.py', *map(str, arguments)])
        code = run_tool(runpy.run_path(str(TOOL))['main'])
        return code, *capsys.readouterr()

    return run


def test_knn_and_retrieval_share_their_features(evaluate, tmp_path):
    code, out, err = evaluate('knn', '--checkpoint', 'random')
    assert code == 0, err
    knn = json.loads((tmp_path / 'work_dirs/leaf_knn_random/result.json').read_text())
    assert out.startswith(f'knn-modified: knn200_top1 {100 * knn["measured"]["knn200_top1"]:.1f} % (')
    assert out.endswith('; n = 8 against 16\nresult work_dirs/leaf_knn_random/result.json\n') and out.count('\n') == 2
    kept = sorted((tmp_path / 'work_dirs/features').iterdir())
    assert len(kept) == 4  # two splits, two grids

    code, out, _ = evaluate('retrieval', '--checkpoint', 'random', '--work-dir', 'mine', '--cfg-options',
                            'evaluation.recall_at=[1,3]')
    assert code == 0 and out.startswith('retrieval: recall1 ')
    result = json.loads((tmp_path / 'mine/result.json').read_text())
    assert list(result['measured']) == ['recall1', 'recall3']
    assert result['features']['queries']['from_disk'] and sorted((tmp_path / 'work_dirs/features').iterdir()) == kept


def test_a_checkpoint_and_a_place_for_features(evaluate, tiny_videos, tmp_path):
    config = from_dict(tiny_finetuning_values(tiny_videos))
    save_file(build_model(config.model, 5).state_dict(), tmp_path / 'a.safetensors')
    code, _, err = evaluate('retrieval', '--checkpoint', 'a.safetensors', '--features', 'kept')
    assert code == 0, err
    result = json.loads((tmp_path / 'work_dirs/leaf_retrieval_a/result.json').read_text())
    assert result['pretrained'] == 'a.safetensors' and result['weights'].startswith('matched 120, missing 0')
    assert len(list((tmp_path / 'kept').iterdir())) == 4 and not (tmp_path / 'work_dirs/features').exists()


def test_the_linear_probe_on_kept_features(evaluate, tmp_path):
    code, out, err = evaluate('linear', '--checkpoint', 'random', '--protocol', 'cached', '--cfg-options',
                              'evaluation.linear.epochs=2', 'evaluation.linear.held_out=0.5')
    assert code == 0, err
    assert out.splitlines()[-2].startswith('cached-modified: top1 ')
    assert json.loads((tmp_path / 'work_dirs/leaf_linear-cached_random/result.json').read_text())['task'] == 'linear'


@pytest.mark.parametrize(('task', 'arguments', 'code', 'message'), [
    ('knn', ['--checkpoint', 'none.pth'], 7, 'error: none.pth: no such checkpoint; name a work directory'),
    ('knn', ['--checkpoint', 'random', '--cfg-options', 'evaluation.knn=[(99,0.1)]'], 2,
     'error: evaluation.knn: k = 99 exceeds the gallery, which has 16 videos'),
    ('retrieval', ['--checkpoint', 'random', '--cfg-options', 'data.test.split=val'], 3, "no rows with 'val'"),
    ('retrieval', ['--checkpoint', 'random', '--cfg-options', 'evaluation.k=3'], 2, 'error: evaluation.k: unknown key'),
    ('retrieval', ['--checkpoint', 'random', '--cfg-options', 'model.type=Speed'], 2, 'error: model'),
    ('knn', ['--checkpoint', 'random', '--cfg-options', 'model.head.num_classes=4'], 3, 'label 4 is out of range'),
])
def test_bad_input(evaluate, tmp_path, task, arguments, code, message):
    before = sorted(tmp_path.rglob('*'))
    got, out, err = evaluate(task, *arguments)
    assert (got, out) == (code, '') and message in err and 'Traceback' not in err
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('arguments', [['knn'], ['knn', '--checkpoint'], ['linear', '--protocol', 'other'], ['none']])
def test_usage(evaluate, arguments):
    with pytest.raises(SystemExit) as stop:
        evaluate(*arguments)
    assert stop.value.code == 2
