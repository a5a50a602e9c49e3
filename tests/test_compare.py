"""Comparisons: the plan, doing and resuming jobs, what failed, the table; and once for real."""

import contextlib
import json
import os
import re
import runpy
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedvssl.cli import parse_options, run_tool, stopping_on_signals
from fedvssl.commit import commit_name, write_commit, write_json
from fedvssl.compare.loading import load_comparison
from fedvssl.compare.locking import claimed
from fedvssl.compare.plan import plan
from fedvssl.compare.progress import clock, listing, standing, summary
from fedvssl.compare.running import ProcessRunner, run_jobs
from fedvssl.compare.summary import tables
from fedvssl.config import config_hash, load_config
from fedvssl.data.annotations import read_annotations
from fedvssl.data.client_lists import write_client_lists
from fedvssl.errors import ConfigError, DataListError, Interrupted, StorageError
from tests.conftest import tiny_finetuning_values, tiny_values

TOOLS = Path(__file__).parent.parent / 'tools'

ARMS = [
    dict(name='random', kind='random'),
    dict(name='scratch', kind='scratch'),
    dict(name='central', kind='central', config='vcop.py'),
    dict(name='alone', kind='alone', config='vcop.py'),
    dict(name='FedVSSL(0.9, 1)', kind='federated', config='vcop.py', options={'federation.rounds': 2}),
]
EVALUATIONS = [dict(task='finetune', config='tune.py'), dict(task='knn', config='tune.py')]


def written(file, values):
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    return file


@pytest.fixture
def comparison(tiny_videos, tmp_path):
    """Returns a function that writes a comparison with its leaves and loads it."""
    written(tmp_path / 'vcop.py', tiny_values(tiny_videos, rounds=5))
    written(tmp_path / 'tune.py', tiny_finetuning_values(tiny_videos))

    def make(**values):
        values = dict(arms=ARMS, evaluations=EVALUATIONS, seeds=[7, 8]) | values
        return load_comparison(written(tmp_path / 'compare.py', values))

    return make


class Fake:
    """Writes what the tools would, at once; `failing` are parts of the names of jobs that fail."""

    def __init__(self, failing=(), interrupted_by=None):
        self.failing, self.interrupted_by = failing, interrupted_by
        self.ran, self.stopped = [], False

    def __call__(self, job):
        self.ran.append(job.name)
        if self.interrupted_by == job.name:
            raise Interrupted('SIGTERM: stopped')
        failed = any(part in job.name for part in self.failing)
        job.work_dir.mkdir(parents=True)
        if not failed:
            finish(job)
        job.log.write_text(''.join(f'line {number}\n' for number in range(30)))
        job.note(10.0 if job.is_evaluation else 30.0, 5 if failed else 0)
        return 5 if failed else 0

    def stop(self):
        self.stopped = True


def finish(job, **measured):
    """Writes the result of a job; figures depend on seed and client, so that means can be told."""
    expected = job.expected
    if not job.is_evaluation:
        state = dict(round=expected['round'], metrics=dict(test_accuracy=0.5, test_loss=1.0),
                     about=dict(seed=job.seed, config_hash=expected['config_hash'], environment={}))
        directory = job.work_dir / 'rounds' / commit_name('round', expected['round'])
        write_commit(directory, {'state.json': json.dumps(state).encode()})
        (job.work_dir / 'rounds/latest').symlink_to(directory.name)
        return
    value = job.seed / 100 + (job.client or 0) / 10
    figures = dict(finetune=dict(top1=value, top5=0.9, mean_class=value),
                   knn=dict(knn200_top1=0.2, knn20_top1=value, knn200_top5=0.3, knn20_top5=0.4))[job.stage]
    write_json(job.work_dir / 'result.json', dict(
        task=expected['task'], protocol=dict(name=expected['task']), seed=job.seed, n=8, measured=figures | measured,
        pretrained=str(job.needs.work_dir) if job.needs else None, intervals={}, lists=expected['lists'],
        config=dict(data=dict(test=dict(split='test'))), config_hash=sorted(expected['config_hash'])[0]))


def names(jobs):
    return [job.name for job in jobs]


def do(planned, runner, parallel=1, **kwargs):
    return run_jobs(standing(planned.jobs).todo, runner, parallel, **kwargs)


def test_the_plan_goes_seed_by_seed_each_pretraining_before_its_evaluations(comparison, tmp_path):
    settings = dict(easy={}, hard={'data.batch_size': 1})
    jobs = plan(comparison(arms=[ARMS[0], ARMS[1], ARMS[4]], settings=settings), tmp_path / 'out').jobs
    assert names(jobs)[:5] == [
        'easy / random / seed 7 / knn', 'easy / scratch / seed 7 / finetune',
        'easy / FedVSSL(0.9, 1) / seed 7 / pretraining', 'easy / FedVSSL(0.9, 1) / seed 7 / finetune',
        'easy / FedVSSL(0.9, 1) / seed 7 / knn']
    assert [job.name.split(' / ')[0] for job in jobs] == 2 * (5 * ['easy'] + 5 * ['hard'])
    assert [job.seed for job in jobs] == 10 * [7] + 10 * [8]
    assert [job.needs for job in jobs[:5]] == [None, None, None, jobs[2], jobs[2]]
    directories = {job.work_dir for job in jobs}
    assert len(directories) == 20
    assert re.fullmatch(r'hard/fedvssl-0.9-1/seed-8/finetune-[0-9a-f]{8}',
                        str(jobs[18].work_dir.relative_to(tmp_path / 'out')))


def test_the_commands_say_what_the_tools_are_to_do(comparison, tmp_path, tiny_videos):
    options = {'arms': [ARMS[0], ARMS[1], *ARMS[3:]], 'options': {'federation.workers': 2, 'data.max_bad_videos': 0.5}}
    jobs = {job.name: job for job in plan(comparison(**options), tmp_path / 'out', {'data.workers': 1}).jobs}

    def command(name):
        job = jobs[name]
        at = job.arguments.index('--cfg-options')
        assert parse_options(job.arguments[at + 1:])['seed'] == 7
        return job.tool, job.arguments[:at], parse_options(job.arguments[at + 1:])

    tool, arguments, given = command('FedVSSL(0.9, 1) / seed 7 / pretraining')
    assert (tool, arguments) == ('fed_train.py', [str(tmp_path / 'vcop.py')])
    assert given == {'federation.workers': 2, 'data.max_bad_videos': 0.5, 'federation.rounds': 2, 'data.workers': 1,
                     'seed': 7}
    federated = jobs['FedVSSL(0.9, 1) / seed 7 / pretraining']
    assert federated.expected == dict(
        round=2, config_hash=config_hash(load_config(tmp_path / 'vcop.py', given).federated()))

    tool, arguments, given = command('alone / seed 7 / client 3 / pretraining')
    assert (tool, given['training.client'], given['training.epochs']) == ('train.py', 3, 3)  # 5 rounds of 2 of 4: 2.5
    assert command('FedVSSL(0.9, 1) / seed 7 / finetune')[1] == [
        str(tmp_path / 'tune.py'), '--pretrained', str(federated.work_dir)]
    assert command('scratch / seed 7 / finetune')[1][1:] == ['--pretrained', 'none']
    tool, arguments, given = command('random / seed 7 / knn')
    assert (tool, arguments[:4]) == ('evaluate.py', ['knn', str(tmp_path / 'tune.py'), '--checkpoint', 'random'])
    assert given == {'data.max_bad_videos': 0.5, 'data.workers': 1, 'seed': 7}  # no federation here


def test_budgets_are_the_same_unless_the_options_say_otherwise(comparison, tmp_path):
    longer = dict(ARMS[2], name='longer', options={'training.epochs': 9})
    planned = plan(comparison(arms=[*ARMS[2:], longer]), tmp_path)
    budgets = [(budget.epochs, budget.fair) for budget in planned.budgets.values()]
    assert budgets == [(3, 2.5), (3, 2.5), (1, 1), (9, 2.5)]
    assert str(planned.budgets['FedVSSL(0.9, 1)']) == (
        'FedVSSL(0.9, 1): 1 epochs (2 rounds x 2 of 4 clients x 1 local epochs)')
    assert str(planned.budgets['longer']) == (
        'longer: 9 epochs (in one place), where the federation of its config has 2.5')
    assert '3 epochs (each client on its own videos)' in str(planned.budgets['alone'])


def test_videos_of_several_clients_count_as_often_as_they_are_seen(comparison, tmp_path, tiny_videos):
    entries = [dict(name=video.path, label=video.label)
               for video in read_annotations(tiny_videos / 'annotations.csv', tiny_videos, split='train')]
    write_client_lists(tmp_path / 'lists', 2 * [entries[:8], entries[8:]])
    options = {'data.partition': dict(type='ListsPartitioner', directory=str(tmp_path / 'lists'))}
    planned = plan(comparison(arms=[dict(arm, options={**arm.get('options', {}), **options}) for arm in ARMS[2:]]),
                   tmp_path)
    # 5 rounds of 2 of 4 clients, each with half of the videos, are 5 epochs; 2 rounds of them are 2.
    assert [(budget.epochs, budget.fair) for budget in planned.budgets.values()] == [(5, 5), (5, 5), (2, 2)]
    assert '2 of 4 clients x 1 local epochs x 2, since the clients have 32 of 16 videos)' in str(
        planned.budgets['FedVSSL(0.9, 1)'])


def test_an_interrupted_comparison_goes_on_where_it_was(comparison, tmp_path):
    made = comparison()
    runner = Fake(interrupted_by='central / seed 8 / pretraining')
    with pytest.raises(Interrupted):
        do(plan(made, tmp_path / 'out'), runner)
    assert runner.stopped
    position = standing(plan(made, tmp_path / 'out').jobs)
    assert names(position.done) == runner.ran[:-1] and len(position.done) == 22
    again = Fake()
    outcomes = do(plan(made, tmp_path / 'out'), again)
    assert again.ran[0] == 'central / seed 8 / pretraining' and not set(again.ran) & set(runner.ran[:-1])
    assert {outcome.state for outcome in outcomes} == {'done'} and len(outcomes) == 18
    assert do(plan(made, tmp_path / 'out'), Fake()) == []


def test_a_failed_job_costs_what_needs_it_and_is_tried_again(comparison, tmp_path):
    planned, told = plan(comparison(seeds=[7]), tmp_path / 'out'), []
    outcomes = do(planned, Fake(failing=['client 1 / pretraining', 'scratch']), tell=told.append)
    assert outcomes == told and len(outcomes) == len(planned.jobs) == 20
    states = {outcome.job.name: outcome.state for outcome in outcomes}
    assert [name for name, state in states.items() if state == 'failed'] == [
        'scratch / seed 7 / finetune', 'alone / seed 7 / client 1 / pretraining']
    assert [name for name, state in states.items() if state == 'skipped'] == [
        'alone / seed 7 / client 1 / finetune', 'alone / seed 7 / client 1 / knn']
    reason = next(outcome.reason for outcome in outcomes if outcome.state == 'failed')
    assert reason.startswith('exit code 5; the end of ') and 'line 29' in reason and 'line 17' not in reason
    position = standing(planned.jobs)
    assert len(position.todo) == 4 and 'failed (5)' in listing(position, planned.jobs)

    for outcome in outcomes:
        if outcome.state == 'failed':
            outcome.job.work_dir.rmdir()
    again = Fake()
    do(planned, again)
    assert again.ran == ['scratch / seed 7 / finetune', 'alone / seed 7 / client 1 / pretraining',
                         'alone / seed 7 / client 1 / finetune', 'alone / seed 7 / client 1 / knn']


def test_a_tool_that_ends_well_without_its_result_has_failed(comparison, tmp_path):
    class Idle(Fake):
        def __call__(self, job):
            return 0

    [outcome] = do(plan(comparison(arms=[ARMS[0]], seeds=[7]), tmp_path), Idle())
    assert outcome.state == 'failed'
    assert outcome.reason.startswith('ended without the result that belongs to its config')


def test_what_has_changed_is_done_again_and_nothing_else(comparison, tmp_path, tiny_videos):
    arms = [ARMS[1], ARMS[2], ARMS[4]]

    def todo(arms=arms, options=None, **values):
        return standing(plan(comparison(arms=arms, seeds=[7], **values), tmp_path / 'out', options).jobs).todo

    run_jobs(todo(), Fake())
    changed = [ARMS[1], ARMS[2], dict(ARMS[4], options={'federation.rounds': 3})]
    assert names(todo(changed)) == [f'FedVSSL(0.9, 1) / seed 7 / {stage}' for stage in
                                    ('pretraining', 'finetune', 'knn')]
    assert not todo()

    # Other k: not part of a config's hash, but of what kNN measures.
    knn = dict(EVALUATIONS[1], options={'evaluation': dict(knn=[[20, 0.1]])})
    assert [job.stage for job in todo(evaluations=[EVALUATIONS[0], knn])] == ['knn', 'knn']
    # Nothing that a result depends on.
    assert not todo(options={'data.workers': 3})
    assert len(todo(options={'data.batch_size': 3})) == 7


@pytest.mark.parametrize(('key', 'value'), [('config_hash', 'f' * 64), ('seed', 8), ('task', 'knn'), ('lists', {})])
def test_a_result_that_does_not_belong_to_the_config_counts_for_nothing(comparison, tmp_path, key, value):
    planned = plan(comparison(arms=[ARMS[1]], seeds=[7]), tmp_path)
    do(planned, Fake())
    file = planned.jobs[0].work_dir / 'result.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    assert names(standing(planned.jobs).todo) == ['scratch / seed 7 / finetune']
    file.write_text('{')
    assert names(standing(planned.jobs).todo) == ['scratch / seed 7 / finetune']


def test_a_damaged_checkpoint_is_made_again_only_where_it_is_needed(comparison, tmp_path):
    planned = plan(comparison(arms=[ARMS[4]], seeds=[7]), tmp_path)
    do(planned, Fake())
    pretraining, tuned, _ = planned.jobs
    state = pretraining.work_dir / 'rounds/round-000002/state.json'
    state.write_bytes(state.read_bytes().replace(b'0.5', b'0.6'))
    assert not standing(planned.jobs).todo
    (tuned.work_dir / 'result.json').unlink()
    assert standing(planned.jobs).todo == [pretraining, tuned]


def test_several_at_a_time_but_none_before_what_it_needs(comparison, tmp_path):
    planned, lock, running, most = plan(comparison(), tmp_path / 'out'), threading.Lock(), set(), []

    class Slow(Fake):
        def __call__(self, job):
            with lock:
                assert job.needs is None or job.needs.is_done()
                running.add(job)
                most.append(len(running))
            time.sleep(0.005)
            code = super().__call__(job)
            with lock:
                running.discard(job)
            return code

    outcomes = do(planned, Slow(), 3)
    assert max(most) == 3 and len(outcomes) == len(planned.jobs) and {o.state for o in outcomes} == {'done'}


def test_the_time_left_is_that_of_alike_jobs(comparison, tmp_path):
    planned = plan(comparison(arms=[ARMS[1], ARMS[4]]), tmp_path)
    assert summary(standing(planned.jobs)) == ('0 of 8 jobs done; how long the rest takes is not known before the '
                                               'first ones are')
    run_jobs(planned.jobs[:2], Fake())  # finetune 10 s, pretraining 30 s
    # Left: finetune, knn (unknown); seed 8: finetune, pretraining, finetune, knn (unknown).
    assert standing(planned.jobs).remaining(2) == ((10 + 10 + 30 + 10) / 2, 2)
    assert summary(standing(planned.jobs), 2) == ('2 of 8 jobs done; about 30 s left with 2 at a time, and 2 jobs of '
                                                  'kinds that none is done of')
    assert [clock(seconds) for seconds in (99.4, 600, 3 * 3600 + 290)] == ['99 s', '10 min', '3:05 h']


def test_the_table(comparison, tmp_path):
    made = comparison(reference='scratch')
    planned = plan(made, tmp_path)
    do(planned, Fake())
    text, values = tables(made, planned)
    arms = {arm['name']: arm['figures'] for arm in values['settings']['']['arms']}
    assert list(arms) == [arm['name'] for arm in ARMS]
    # Client k of seed s has s/100 + k/10; the mean over four clients is s/100 + 0.15.
    alone = arms['alone']['finetune/finetune/top1']
    assert alone['values'] == pytest.approx([0.22, 0.23]) and alone['mean'] == pytest.approx(0.225)
    assert alone['sd'] == pytest.approx(statistics.stdev([0.22, 0.23]))
    assert arms['central']['knn/knn/knn20_top1']['values'] == pytest.approx([0.07, 0.08])
    assert list(arms['scratch']) == ['finetune/finetune/top1'] and list(arms['random']) == ['knn/knn/knn20_top1']
    assert '| alone | 2 | 22.5 ± 0.7 | 22.5 ± 0.7 |' in text and '| random | 2 | - | 7.5 ± 0.7 |' in text
    difference = next(item for item in values['settings']['']['differences'] if item['arm'] == 'alone')
    assert difference['difference'] == pytest.approx(0.15)
    assert 'Budget of pretraining, in epochs over the pooled videos: central: 3 epochs (in one place)' in text
    assert values['settings']['']['pretext']['alone'] == dict(accuracy=8 * [0.5])
    assert 'Not complete' not in text


def test_the_table_of_what_is_there(comparison, tmp_path):
    made = comparison(settings=dict(easy={}, hard={'data.batch_size': 1}), reference='scratch')
    planned = plan(made, tmp_path)
    assert tables(made, planned)[0].count('Nothing is measured yet.') == 2
    run_jobs([job for job in planned.jobs if job.setting == 'easy' and job.seed == 7 and job.client != 3], Fake())
    text, values = tables(made, planned)
    assert list(values['settings']) == ['easy'] and 'Nothing is measured yet.' in text and '### hard' in text
    # One client of four is missing: no mean that three would pretend to.
    assert [arm['name'] for arm in values['settings']['easy']['arms']] == [arm['name'] for arm in ARMS if
                                                                           arm['name'] != 'alone']
    assert re.search(r'Not complete: 44 of 56 evaluations are not done, such as easy / alone / seed 7 / client 3', text)


def test_a_result_without_the_figure_that_is_to_be_shown(comparison, tmp_path):
    made = comparison(arms=[ARMS[1]], evaluations=[EVALUATIONS[0]], seeds=[7])
    planned = plan(made, tmp_path)
    do(planned, Fake())
    file = planned.jobs[0].work_dir / 'result.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(measured=dict(top5=0.5))))
    with pytest.raises(DataListError, match="did not measure 'top1', .* it has top5"):
        tables(made, planned)


def test_the_mean_over_clients_is_as_reliable_as_its_worst(comparison, tmp_path):
    made = comparison(arms=[ARMS[3]], evaluations=[EVALUATIONS[0]], seeds=[7])
    planned = plan(made, tmp_path)
    do(planned, Fake())
    job = next(job for job in planned.jobs if job.is_evaluation and job.client == 2)
    file = job.work_dir / 'result.json'
    file.write_text(json.dumps(json.loads(file.read_text())
                               | dict(reproducible=False, bad_videos={'a.mp4': 'cannot be decoded'})))
    text, _ = tables(made, planned)
    assert '1 unreadable video left out' in text and '1 of 1 runs lost a video to a deadline' in text


def test_a_part_of_a_comparison(comparison):
    part = comparison().only(['scratch', 'random'], [3])
    assert [arm.name for arm in part.arms] == ['random', 'scratch'] and part.seeds == [3]
    with pytest.raises(ConfigError, match="--arms: no such arm: 'scrach'; did you mean 'scratch'"):
        comparison().only(['scrach'], None)
    with pytest.raises(ConfigError, match="--seeds: '7' is there twice"):
        comparison().only(None, [7, 7])


@pytest.mark.parametrize(('values', 'message'), [
    (dict(arm=[]), r"arm: unknown key; did you mean 'arms'"),
    (dict(arms=[]), 'arms: must not be empty'),
    (dict(arms=[dict(name='a', kind='centrl')]), r"arms\[0\].kind: no such kind: 'centrl'; did you mean 'central'"),
    (dict(arms=[dict(name='a', kind='central')]), r"arms\[0\].config: is required for an arm of kind 'central'"),
    (dict(arms=[dict(ARMS[2], config='none.py')]), r'arms\[0\].config: .*none.py: no such config file; it is looked'),
    (dict(arms=[dict(ARMS[1], config='vcop.py')]), r"arms\[0\].config: an arm of kind 'scratch' has no pretraining"),
    (dict(arms=[dict(ARMS[2], optons={})]), r"arms\[0\].optons: unknown key; did you mean 'options'"),
    (dict(arms=[dict(ARMS[2], options={'seed': 3})]), r'arms\[0\].options: the seed comes from seeds'),
    (dict(arms=[dict(ARMS[2], evaluations=['knm'])]), r"arms\[0\].evaluations: .*'knm'; did you mean 'knn'"),
    (dict(arms=[dict(ARMS[1], evaluations=['knn'])]), r"evaluations: none of .* fits an arm of kind 'scratch'"),
    (dict(arms=[ARMS[1], ARMS[1]]), "arms: 'scratch' is there twice"),
    (dict(evaluations=[]), 'evaluations: must not be empty'),
    (dict(evaluations=[dict(task='knn')]), r'evaluations\[0\].config: is required and missing'),
    (dict(evaluations=[dict(EVALUATIONS[1], task='nn')]), r"evaluations\[0\].task: no such task: 'nn'"),
    (dict(evaluations=2 * [EVALUATIONS[1]]), "evaluations: 'knn' is there twice"),
    (dict(evaluations=[dict(EVALUATIONS[1], measures=[])]), r'evaluations\[0\].measures: must be names of figures'),
    (dict(seeds=[]), r'seeds: must be integers, at least one, not \[\]'),
    (dict(seeds=[7, '8']), 'seeds: must be integers'),
    (dict(settings={}), 'settings: must not be empty'),
    (dict(settings=dict(a=3)), r"settings\['a'\]: must be a dict of keys and values"),
    (dict(reference='skratch'), "reference: no such arm: 'skratch'; did you mean 'scratch'"),
])
def test_bad_comparisons_are_refused(comparison, values, message):
    with pytest.raises(ConfigError, match=message):
        comparison(**values)


@pytest.mark.parametrize(('values', 'message'), [
    (dict(arms=[dict(ARMS[4], options={'federation.rouns': 3})]),
     r"arm 'FedVSSL\(0.9, 1\)' \(.*vcop.py\): federation.rouns: unknown key; did you mean 'rounds'"),
    (dict(arms=[dict(ARMS[2], config='tune.py')]), r"arm 'central' \(.*tune.py\): federation: this tool needs"),
    (dict(arms=[ARMS[1]], evaluations=[dict(EVALUATIONS[0], options={'model.type': 'Recogniser'})]),
     r"evaluation 'finetune' \(.*tune.py\): model.type: unknown type 'Recogniser'"),
    (dict(arms=[ARMS[1]], evaluations=[dict(EVALUATIONS[0], config='vcop.py')]), r"evaluation 'finetune' .*training:"),
    (dict(arms=[ARMS[1]], evaluations=[dict(EVALUATIONS[0], measures=['top3'])]),
     r"evaluation 'finetune' .*measures: 'top3' is not measured; name one or several of top1, top5, mean_class"),
    (dict(arms=[ARMS[0]], evaluations=[dict(EVALUATIONS[1], options={'evaluation.knn': [[5, 0.07]]})]),
     r"evaluation 'knn' .*measures: 'knn20_top1' is not measured.*name .* of knn5_top1, knn5_top5"),
    (dict(arms=[ARMS[0]], evaluations=[dict(task='retrieval', config='tune.py', measures=['recall3'])]),
     r"evaluation 'retrieval' .*measures: 'recall3' is not measured; .* of recall1, recall5, recall10"),
])
def test_bad_leaves_are_refused_before_anything_runs(comparison, tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        plan(comparison(**values), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_no_less_than_one_at_a_time(comparison, tmp_path):
    with pytest.raises(ConfigError, match='--jobs: must be at least 1, not 0'):
        do(plan(comparison(arms=[ARMS[0]]), tmp_path), Fake(), 0)


def test_one_comparison_at_a_time(tmp_path):
    with claimed(tmp_path / 'out'), pytest.raises(ConfigError, match='another comparison is running here'), \
            claimed(tmp_path / 'out'):
        pass
    with claimed(tmp_path / 'out'):
        pass
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='file: cannot be written'), claimed(tmp_path / 'file'):
        pass


SCRIPT = """
import os, pathlib, signal, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
work_dir.mkdir(parents=True, exist_ok=True)
print('resumed' if '--resume' in sys.argv else 'begun', len(list(work_dir.iterdir())), flush=True)
(work_dir / 'config.json').write_text('x')
if (work_dir.parent / 'wait').exists():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    (work_dir.parent / 'waiting').write_text(str(os.getpid()))
    time.sleep(60)
sys.exit(3)
"""

PARENT = """
import sys
from pathlib import Path
from fedvssl.compare.jobs import Job
from fedvssl.compare.locking import claimed
from fedvssl.compare.running import ProcessRunner
out, tools, work_dir = map(Path, sys.argv[1:])
with claimed(out) as lock:
    ProcessRunner(tools, [lock])(Job('', 'arm', 7, 'pretraining', 'fed_train.py', [], work_dir, {}))
"""


@pytest.fixture
def process_runner(comparison, tmp_path):
    """A runner of scripts that leave off half-way, and a federated job, its fine-tuning and its kNN."""
    (tmp_path / 'tools').mkdir()
    for tool in ('fed_train.py', 'finetune.py', 'evaluate.py'):
        (tmp_path / 'tools' / tool).write_text(SCRIPT)
    return ProcessRunner(tmp_path / 'tools'), plan(comparison(arms=[ARMS[4]], seeds=[7]), tmp_path / 'out').jobs


def test_a_tool_that_can_continues_and_another_begins_anew(process_runner):
    runner, (pretraining, tuned, knn) = process_runner
    for job in (pretraining, tuned, knn):
        assert [runner(job), runner(job)] == [3, 3]
        assert job.history()['attempts'] == 2 and job.history()['exit_code'] == 3 and job.history()['seconds'] > 0
    assert pretraining.tail() == tuned.tail() == 'begun 0\nresumed 1'
    assert knn.tail() == 'begun 0\nbegun 0'


def test_an_interruption_reaches_the_tools(process_runner):
    runner, (pretraining, *_) = process_runner
    directory = pretraining.work_dir.parent
    directory.mkdir(parents=True)
    (directory / 'wait').write_text('')

    def interrupt():
        while not (directory / 'waiting').exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread, begun = threading.Thread(target=interrupt), time.monotonic()
    thread.start()
    with pytest.raises(Interrupted), stopping_on_signals():
        run_jobs([pretraining], runner)
    thread.join()
    assert time.monotonic() - begun < 30 and pretraining.history()['exit_code'] == 130
    assert pretraining.begun and listing(standing([]), [pretraining]).startswith('interrupted')
    assert runner(pretraining) == 130 and pretraining.history()['attempts'] == 1  # starts nothing any more


def test_a_tool_that_outlives_a_killed_comparison_keeps_its_directory(process_runner, tmp_path):
    _, (pretraining, *_) = process_runner
    directory = pretraining.work_dir.parent
    directory.mkdir(parents=True)
    (directory / 'wait').write_text('')
    out, work_dir = tmp_path / 'out', str(pretraining.work_dir)
    killed = subprocess.Popen([sys.executable, '-c', PARENT, str(out), str(tmp_path / 'tools'), work_dir])
    pid = int(wait_for(directory / 'waiting'))
    killed.kill()
    killed.wait()
    with pytest.raises(ConfigError, match='a tool that one left behind when it was killed'), claimed(out):
        pass
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(ConfigError), claimed(out):
            return
        time.sleep(0.05)
    pytest.fail('the directory was not given free')


def wait_for(file):
    """Returns what stands in a file once something does."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if text := file.read_text():
                return text
        time.sleep(0.01)
    pytest.fail(f'{file}: nothing came')


def test_the_tool_says_what_failed(process_runner, tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(TOOLS / 'compare.py'))['main']
    monkeypatch.setitem(tool.__globals__, 'TOOLS', tmp_path / 'tools')
    arguments = [str(tmp_path / 'compare.py'), '--work-dir', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', ['compare.py', *arguments])
    assert run_tool(tool) == 1
    out, err = capsys.readouterr()
    assert err == ('error: 1 jobs failed, and 2 that need one of them were left out; run again when that is mended\n')
    assert re.search(r'failed: FedVSSL.0.9, 1. / seed 7 / pretraining  .exit code 3; the end of .*log:\nbegun 0', out)
    assert out.count('skipped: ') == 2 and '0 of 3 jobs done' in out
    assert (tmp_path / 'out/table.md').read_text().startswith('Nothing is measured yet.')
    monkeypatch.setattr(sys, 'argv', ['compare.py', *arguments, '--list'])
    assert run_tool(tool) == 0 and 'failed (3)' in capsys.readouterr().out


def test_the_tool(comparison, tmp_path, monkeypatch, capsys):
    """Every kind of arm but central training, for real; then once more, when nothing is left to do."""
    alone = dict(ARMS[3], options={'data.partition.num_clients': 2, 'training.epochs': 1}, evaluations=['finetune'])
    federated = dict(ARMS[4], options={'federation.rounds': 1}, evaluations=['retrieval'])
    comparison(arms=[ARMS[0], ARMS[1], alone, federated], seeds=[7],
               evaluations=[EVALUATIONS[0], dict(task='retrieval', config='tune.py', measures=['recall1'])],
               options={'federation.workers': 0})

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['compare.py', str(tmp_path / 'compare.py'), '--work-dir',
                                          str(tmp_path / 'out'), *arguments])
        code = run_tool(runpy.run_path(str(TOOLS / 'compare.py'))['main'])
        return code, *capsys.readouterr()

    code, out, err = run('--list')
    assert code == 0 and out.count('to do') == 8 and not (tmp_path / 'out').exists()
    code, out, err = run('--jobs', '2')
    assert code == 0, out + err
    assert out.count('done: ') == 8 and '8 of 8 jobs done' in out
    table = (tmp_path / 'out/table.md').read_text()
    rows = re.findall(r'^\| (random|scratch|alone|FedVSSL\(0.9, 1\)) \| 1 \| ([-0-9.]+) \| ([-0-9.]+) \|$', table,
                      re.MULTILINE)
    assert [[figure != '-' for figure in row[1:]] for row in rows] == [[False, True], [True, False], [True, False],
                                                                       [False, True]]
    # Of 8 videos; the mean over two clients in halves of that.
    shares = [float(figure) / 6.25 for row in rows for figure in row[1:] if figure != '-']
    assert shares == pytest.approx([round(share) for share in shares], abs=0.02)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('result.json')}
    code, out, _ = run()
    assert code == 0 and out.startswith('8 of 8 jobs done\n') and 'done: ' not in out
    assert times == {path: path.stat().st_mtime_ns for path in times} and len(times) == 5
    assert (tmp_path / 'out/table.md').read_text() == table

    assert run('--jobs', '0')[::2] == (2, 'error: --jobs: must be at least 1, not 0\n')
    assert run('--cfg-options', 'seed=9')[::2] == (2, 'error: --cfg-options: the seed comes from seeds\n')
    code, out, err = run('--cfg-options', 'data.root=nowhere')
    assert code == 3
    assert re.match(r"error: evaluation 'retrieval' \(.*tune.py\): nowhere/annotations.csv: No such file", err)
