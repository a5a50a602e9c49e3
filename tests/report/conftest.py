"""Result files such as the evaluations write, for all that reads them."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from fedvssl.cli import run_tool
from fedvssl.config import from_dict
from tests.conftest import tiny_finetuning_values

TOOL = Path(__file__).parent.parent.parent / 'tools' / 'report.py'

ENVIRONMENT = dict(python='3.11', processor='abacus')


def result_values(measured, seed=7, task='finetune', n=4, protocol=None, right=None, **details):
    """Returns what a ``result.json`` holds."""
    data = dict(root='videos', annotations='annotations.csv', extension='',
                train=dict(split='train'), test=dict(split='test'))
    last = dict(correct=right, target=list(range(n))) if right else {}
    return dict(task=task, protocol=protocol or dict(name=f'fedvssl-{task}', clips=10), pretrained=None, seed=seed, n=n,
                measured=measured, intervals={}, config_hash=f'{seed:064x}', config=dict(seed=seed, data=data),
                lists=dict(annotations_sha256='a' * 64), environment=ENVIRONMENT, bad_videos={}, reproducible=True,
                last=last) | details


@pytest.fixture
def evaluation(tmp_path):
    """Writes a result into a directory below `tmp_path` and returns the directory."""

    def write(name, measured, **details):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        (directory / 'result.json').write_text(json.dumps(result_values(measured, **details)))
        return directory

    return write


@pytest.fixture
def tool(monkeypatch):
    """Runs tools/report.py in this process; returns its exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
        return run_tool(runpy.run_path(str(TOOL))['main'])

    return run


@pytest.fixture(scope='session')
def searched(tiny_videos, tmp_path_factory):
    """Directory with real evaluations of a random backbone: ``retrieval``, ``knn`` and their ``features``."""
    from fedvssl.evaluation.knn import evaluate_knn
    from fedvssl.evaluation.retrieval import evaluate_retrieval

    home, config = tmp_path_factory.mktemp('searched'), from_dict(tiny_finetuning_values(tiny_videos))
    evaluate_retrieval(config, 'random', home / 'retrieval', home / 'features')
    evaluate_knn(config, 'random', home / 'knn', home / 'features')
    return home
