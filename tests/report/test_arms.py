"""Which results are found, what is refused of them, and which arm they belong to."""

import json
from pathlib import Path

import pytest

from fedvssl.errors import ConfigError, DataListError
from fedvssl.report.arms import arm_name, gather, named_arms
from fedvssl.report.results import Result, find_results, read_result
from tests.report.conftest import result_values


def named(run, directory, task='knn', protocol='wu', seed=7):
    return arm_name(Path(run), Result(Path(directory), task, dict(name=protocol), seed, 4, {}, None, {}))


@pytest.mark.parametrize(('run', 'directory', 'name'), [
    ('work/vcop-7', 'work/vcop-7', 'vcop'),
    ('work', 'work/vcop-7', 'vcop'),
    ('work', 'work/vcop-7/knn', 'vcop'),
    ('work', 'work/vcop-7/wu', 'vcop'),
    ('work', 'work/vcop-7/knn-wu', 'vcop'),
    ('work', 'work/7/vcop/knn', 'vcop'),
    ('work', 'work/knn/vcop-7', 'vcop'),
    ('work', 'work/speed/fedvssl-7', 'speed/fedvssl'),
    ('work/vcop-7/knn', 'work/vcop-7/knn', 'vcop'),
    ('work', 'work/vcop-07', 'vcop-07'), ('work', 'work/hard/fedavg/seed-7/knn-1f3a90c4', 'hard/fedavg'),
    ('work', 'work/fedavg/seed-8/knn-1f3a90c4', 'fedavg/seed-8'),
    ('work', 'work/vcop-17', 'vcop-17'),
    ('work', 'work/vcop-8', 'vcop-8'),
    ('work/vcop-7', 'work/vcop-7/knn', 'vcop'),
    ('work/vcop-7/knn/7', 'work/vcop-7/knn/7', 'vcop'),
    ('work', 'work/knn-7', 'work'),
    ('work', 'work/7', 'work'),
    ('work', 'work/vcop-7/linear', 'vcop/linear'),  # of another task
])
def test_the_name_of_an_arm(run, directory, name):
    assert named(run, directory) == name


def test_the_name_of_where_one_is(evaluation, monkeypatch):
    monkeypatch.chdir(evaluation('vcop-7', dict(top1=1)))
    [arm] = gather([Path()], {})
    assert arm.name == 'vcop'


def test_seeds_of_an_arm_are_put_together_in_order(evaluation, tmp_path):
    for seed in (9, 7, 10):
        evaluation(f'runs/vcop-{seed}/finetune', dict(top1=seed / 10), seed=seed)
        evaluation(f'runs/vcop-{seed}/knn', dict(knn20_top1=seed / 20), seed=seed, task='knn')
    evaluation('runs/scratch-7', dict(top1=0.1))
    scratch, vcop = gather([tmp_path / 'runs'], {})
    assert (scratch.name, vcop.name) == ('scratch', 'vcop')
    assert {kind: list(by_seed) for kind, by_seed in vcop.results.items()} == {
        ('finetune', 'fedvssl-finetune'): [7, 9, 10], ('knn', 'fedvssl-knn'): [7, 9, 10]}
    assert vcop.results['knn', 'fedvssl-knn'][9].measured == dict(knn20_top1=0.45)
    assert len(vcop.runs) == 6


def test_arms_named_by_hand_come_first(evaluation, tmp_path):
    first, second = evaluation('x/a', dict(top1=1), seed=1), evaluation('y/a', dict(top1=0), seed=2)
    third = evaluation('b-1', dict(top1=0), seed=1)
    arms = gather([third], named_arms([['My arm', str(first), str(second.parent)]]))
    assert [(arm.name, [result.directory for result in arm.runs]) for arm in arms] == [
        ('My arm', [first, second]), ('b', [third])]


def test_arguments_that_name_no_arm():
    with pytest.raises(ConfigError, match='--arm vcop: names no work directory'):
        named_arms([['vcop']])
    with pytest.raises(ConfigError, match='--arm vcop: is there twice'):
        named_arms([['vcop', 'a'], ['vcop', 'b']])
    with pytest.raises(DataListError, match='no runs were given'):
        gather([], {})


def test_two_runs_of_one_seed_are_refused(evaluation, tmp_path):
    evaluation('a/vcop-7', dict(top1=1))
    evaluation('b/vcop-7', dict(top1=0))
    with pytest.raises(DataListError, match=r"arm 'vcop': .*a/vcop-7 and .*b/vcop-7 are both finetune with seed 7"):
        gather([tmp_path / 'a', tmp_path / 'b'], {})
    assert [arm.name for arm in gather([tmp_path], {})] == ['a/vcop', 'b/vcop']


def test_runs_of_an_arm_differ_in_their_seed_alone(evaluation, tmp_path):
    config = result_values({}, seed=8)['config']
    evaluation('a-7', dict(top1=1))
    other = evaluation('a-8', dict(top1=1), seed=8, config=config | dict(optim=dict(lr=0.1)))
    with pytest.raises(DataListError, match=r'differ in more than the seed(.|\n)*optim.lr: \(absent\) -> 0.1'):
        gather([tmp_path], {})
    moved = json.loads((other / 'result.json').read_text())
    moved['config'] = config | dict(data=config['data'] | dict(root='/elsewhere'))
    (other / 'result.json').write_text(json.dumps(moved))
    assert len(gather([tmp_path], {})[0].runs) == 2  # the lists tell whether the data are the same
    (other / 'result.json').write_text(json.dumps(moved | dict(pretrained='x')))
    with pytest.raises(DataListError, match='one begins with a checkpoint and one with random weights'):
        gather([tmp_path], {})


def test_results_are_found_at_and_below_a_directory(evaluation, tmp_path):
    for name in ('b/knn', 'a', '.trash/a', 'b/.old/knn'):
        evaluation(name, dict(top1=1))
    assert find_results(tmp_path) == [tmp_path / 'a', tmp_path / 'b/knn']
    assert find_results(tmp_path / 'b/knn') == [tmp_path / 'b/knn']
    assert len(find_results(tmp_path / '.trash')) == 1
    with pytest.raises(DataListError, match='nothing: neither it nor a directory below it holds a result.json'):
        find_results(tmp_path / 'nothing')


def test_splits_below_their_mean_are_no_runs_of_their_own(evaluation, tmp_path):
    for name in ('mean-7', 'mean-7/split1', 'mean-7/split2', 'mean-7/knn', 'lone-7/split1'):
        evaluation(name, dict(top1=1))
    assert find_results(tmp_path) == [tmp_path / name for name in ('lone-7/split1', 'mean-7', 'mean-7/knn')]


def test_what_a_result_holds(evaluation):
    result = read_result(evaluation('a-7', dict(top1=0.5, top5=1), right=[1, 0, 1, 0], pretrained='x'))
    assert (result.kind, result.seed, result.n, result.pretrained) == (('finetune', 'fedvssl-finetune'), 7, 4, 'x')
    assert result.measured == dict(top1=0.5, top5=1.0) and result.detail('target') == [0, 1, 2, 3]
    assert result.correct('top1') == [1, 0, 1, 0] and result.correct('top5') is None


def test_right_videos_of_several_figures(evaluation):
    result = read_result(evaluation('a-7', dict(recall1=0.5), correct=dict(recall1=[1, 0, 1, 0], recall5=[1])))
    assert result.correct('recall1') == [1, 0, 1, 0]
    assert result.correct('recall5') is None is result.correct('recall10')  # not one for each of the 4 videos


@pytest.mark.parametrize(('change', 'reason'), [
    (dict(protocol=dict(clips=10)), 'protocol has no name'), (dict(measured={}), 'nothing was measured'),
    (dict(measured=dict(top1='0.5')), "measured.top1 is '0.5'"), (dict(measured=dict(top1=True)), 'measured.top1'),
    (dict(measured=dict(top1=float('nan'))), 'measured.top1 is nan'), (dict(n=0), 'nothing was measured'),
    (dict(seed='x'), 'ValueError'), (dict(config=None), 'config or lists'), (dict(protocol=None), 'TypeError')])
def test_a_result_that_is_of_no_use(evaluation, change, reason):
    directory = evaluation('a-7', dict(top1=1.0))
    (directory / 'result.json').write_text(json.dumps(result_values(dict(top1=1.0)) | change))
    with pytest.raises(DataListError, match=f'a-7: holds no usable result.json .*{reason}') as caught:
        read_result(directory)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize('content', [None, '{"seed": 1,', '[]', 'null', '{}'])
def test_a_missing_or_foreign_result(tmp_path, content):
    if content is not None:
        (tmp_path / 'result.json').write_text(content)
    with pytest.raises(DataListError, match='holds no usable result.json'):
        read_result(tmp_path)


def test_a_result_from_before_protocols_were_noted(tmp_path):
    (tmp_path / 'result.json').write_text(json.dumps(dict(task='finetune', seed=7, last=dict(top1=0.5))))
    with pytest.raises(DataListError, match='of a version that did not note the protocol; evaluate once more'):
        read_result(tmp_path)
