"""Centralised pretraining on the tiny set: determinism, resume to the bit, overrides, what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvssl import pretraining as module
from fedvssl.cli import stopping_on_signals
from fedvssl.config import check_types, config_hash, differences, from_dict, identity
from fedvssl.errors import BadVideosError, ConfigError, DataListError, Interrupted
from fedvssl.evaluation.finetune import FineTuning
from fedvssl.federated.run import federate
from fedvssl.pretraining import Pretraining, check_pretraining, pretrain
from fedvssl.state import RoundStore
from fedvssl.training.hooks import Hook
from fedvssl.training.trainer import Trainer
from fedvssl.weights import read_weights
from tests.conftest import tiny_finetuning_values, tiny_values

TOOL = Path(__file__).parent.parent / 'tools/train.py'
SGD = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9), clip_grad=dict(max_norm=40))
ADAMW = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001))


class Record(Hook):
    """Remembers what a run told."""

    def __init__(self):
        self.info, self.steps, self.rounds, self.end = None, [], [], None

    def before_run(self, info):
        self.info = info

    def after_step(self, number, metrics):
        self.steps.append((number, metrics['step']))

    def after_round(self, number, metrics):
        self.rounds.append(metrics)

    def after_run(self, metrics):
        self.end = metrics


class StopAfter(Hook):
    """Ends a run as a crash would, right after an epoch was committed."""

    def __init__(self, number):
        self.number = number

    def after_round(self, number, metrics):
        if number == self.number:
            raise RuntimeError('planned crash')


class SignalWithin(Hook):
    """Sends this process SIGTERM within an epoch, and draws from torch's generator as anything might."""

    def __init__(self, number):
        self.number = number

    def before_run(self, info):
        torch.rand(3)

    def after_step(self, number, metrics):
        if (number, metrics['step']) == (self.number, 2):
            os.kill(os.getpid(), signal.SIGTERM)


def central(root, optim_wrapper=SGD, **training):
    """Returns a config that can be run either way; keyword arguments override its section ``training``."""
    training = dict(epochs=3, evaluate_every=2, batch_size=4, optim_wrapper=optim_wrapper) | training
    return from_dict(tiny_values(root) | dict(training=training))


def moco(root):
    """Returns a config of a model with a queue and slow copies, which live in buffers."""
    config = central(root, ADAMW)
    sampler = dict(type='RandomClipSampler', clip_length=4, num_clips=2)
    model = dict(config.model, type='MoCo', head=dict(type='MoCoHead', out_channels=8), queue_size=24, momentum=0.9)
    phase = replace(config.data.train, sampler=sampler, independent_clips=True)
    return replace(config, model=model, data=replace(config.data, train=phase, test=None))


CONFIGS = {'sgd': central, 'adamw': lambda root: central(root, ADAMW), 'moco': moco,
           'accumulating': lambda root: central(root, dict(SGD, accumulative_counts=3))}


def fingerprint(state):
    digest = sha256()
    for tensors in (state.tensors, state.optimizer):
        for name, tensor in sorted(tensors.items()):
            digest.update(f'{name} {tensor.dtype} {tensor.shape}'.encode() + tensor.tobytes())
    return digest.hexdigest()


def losses(record):
    return [metrics['loss'] for metrics in record.rounds]


def epochs_in(work_dir):
    return sorted(int(path.name[-6:]) for path in (work_dir / 'rounds').glob('round-*'))


@pytest.fixture(scope='module')
def references(tiny_videos, tmp_path_factory):
    """Uninterrupted runs, made when first asked for: final state, record, work directory."""
    made = {}

    def reference(name):
        if name not in made:
            work_dir, record = tmp_path_factory.mktemp(name), Record()
            made[name] = pretrain(CONFIGS[name](tiny_videos), work_dir, hook=record), record, work_dir
        return made[name]

    return reference


def test_an_epoch_is_one_commit_of_the_whole_model_and_its_optimiser(references):
    state, record, work_dir = references('sgd')
    assert epochs_in(work_dir) == [1, 2, 3] and (work_dir / 'rounds/latest').resolve().name == 'round-000003'
    files = {path.name for path in (work_dir / 'rounds/latest').iterdir()}
    assert files == {'global.safetensors', 'optimizer.safetensors', 'state.json', 'manifest.json'}
    tensors = read_weights(work_dir)
    assert len(tensors) == 124 and list(state.tensors)[-1] == 'head.fc2.bias'
    assert all(np.array_equal(tensors[name].numpy(), tensor) for name, tensor in state.tensors.items())
    assert state.tensors['backbone.conv1.bn.num_batches_tracked'] == 12
    momenta = read_weights(work_dir / 'rounds/latest/optimizer.safetensors')
    assert len(momenta) == 64 and momenta['head.fc2.bias.momentum_buffer'].any()
    document = json.loads((work_dir / 'rounds/latest/state.json').read_text())
    assert document['round'] == 3 and document['metrics'] == record.rounds[-1]
    assert len(document['about']['config_hash']) == 64 and document['about']['environment']['packages']['torch']


def test_every_video_is_trained_on_and_every_epoch_told(references):
    _, record, _ = references('sgd')
    assert record.info['videos'] == 16 and (record.info['rounds'], record.info['first_round']) == (3, 1)
    assert record.steps == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3, 4)]
    assert ['test_accuracy' in metrics for metrics in record.rounds] == [False, True, True]
    assert all(0.5 < metrics['loss'] < 4 for metrics in record.rounds)
    assert 0 <= record.rounds[1]['test_accuracy'] <= 1
    assert record.rounds[1]['test_loss'] != record.rounds[2]['test_loss']
    assert record.end['rounds'] == 3


@pytest.mark.parametrize('workers', [0, 3])
def test_the_same_seed_gives_the_same_bits_whatever_the_number_of_workers(references, tiny_videos, tmp_path, workers):
    config, record = central(tiny_videos), Record()
    config = replace(config, data=replace(config.data, workers=workers))
    assert fingerprint(pretrain(config, tmp_path, hook=record)) == fingerprint(references('sgd')[0])
    assert losses(record) == losses(references('sgd')[1])


def test_another_seed_gives_other_bits_and_epochs_do_not_repeat_their_clips(references, tiny_videos, tmp_path,
                                                                          monkeypatch):
    from fedvssl.data.dataset import ClipDataset

    drawn, original = [], ClipDataset.load

    def spy(self, index, *args, **kwargs):
        sample = original(self, index, *args, **kwargs)
        drawn.append((index, sha256(sample['inputs'].tobytes()).hexdigest()))
        return sample

    monkeypatch.setattr(ClipDataset, 'load', spy)
    config = central(tiny_videos)
    config = replace(config, seed=8, data=replace(config.data, test=None))
    assert fingerprint(pretrain(config, tmp_path, hook=Hook())) != fingerprint(references('sgd')[0])
    trained = drawn[1:]  # the first is the check's
    assert [sorted(index for index, _ in trained[epoch:epoch + 16]) for epoch in (0, 16, 32)] == [list(range(16))] * 3
    assert len(trained) == 48 and len(set(trained)) > 0.9 * 48


@pytest.mark.parametrize(('name', 'epoch'), [('sgd', 1), ('sgd', 2), ('adamw', 2), ('moco', 2), ('accumulating', 2)])
def test_a_resumed_run_equals_an_uninterrupted_one(references, tiny_videos, tmp_path, name, epoch):
    config = CONFIGS[name](tiny_videos)
    with pytest.raises(RuntimeError, match='planned crash'):
        pretrain(config, tmp_path, hook=StopAfter(epoch))
    assert epochs_in(tmp_path)[-1] == epoch
    record = Record()
    resumed, (reference, told, _) = pretrain(config, tmp_path, resume=True, hook=record), references(name)
    assert fingerprint(resumed) == fingerprint(reference) and resumed.round == 3
    assert record.info['first_round'] == epoch + 1
    assert losses(record) == losses(told)[epoch:]


def test_the_evolving_buffers_are_part_of_the_model(references):
    tensors = references('moco')[0].tensors
    assert tensors['queue_pointer'] == 48 and tensors['queue'].shape == (24, 8)
    assert not np.array_equal(tensors['key_encoder.conv1.conv.weight'], tensors['backbone.conv1.conv.weight'])


@pytest.mark.parametrize(('name', 'file'), [('sgd', 'optimizer.safetensors'), ('adamw', 'global.safetensors')])
def test_where_the_newest_epoch_is_damaged_the_one_before_serves(references, tiny_videos, tmp_path, caplog, name, file):
    state, _, work_dir = references(name)
    shutil.copytree(work_dir, tmp_path / 'run', symlinks=True)
    damaged = tmp_path / 'run/rounds/round-000003' / file
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    record = Record()
    resumed = pretrain(CONFIGS[name](tiny_videos), tmp_path / 'run', resume=True, hook=record)
    assert f'round-000003/{file}: damaged' in caplog.text and 'using the older round-000002' in caplog.text
    assert record.info['first_round'] == 3 and fingerprint(resumed) == fingerprint(state)


def test_a_signal_costs_the_epoch_under_way_and_no_more(references, tiny_videos, tmp_path):
    with pytest.raises(Interrupted, match=r'SIGTERM: stopped.*--resume') as caught, stopping_on_signals():
        pretrain(central(tiny_videos), tmp_path, hook=SignalWithin(2))
    assert caught.value.exit_code == 130 and epochs_in(tmp_path) == [1]
    resumed = pretrain(central(tiny_videos), tmp_path, resume=True, hook=Hook())
    assert fingerprint(resumed) == fingerprint(references('sgd')[0])


def test_a_finished_run_that_is_resumed_trains_no_more(references, tiny_videos):
    state, _, work_dir = references('sgd')
    record = Record()
    again = pretrain(central(tiny_videos), work_dir, resume=True, hook=record)
    assert fingerprint(again) == fingerprint(state) and record.rounds == [] and record.end['rounds'] == 3


def test_the_last_epochs_are_kept(tiny_videos, tmp_path):
    config = central(tiny_videos, epochs=4)
    pretrain(replace(config, runtime=replace(config.runtime, keep_last=2)), tmp_path, hook=Hook())
    assert epochs_in(tmp_path) == [3, 4]


def test_a_used_work_directory_is_refused_without_resume(references, tiny_videos):
    with pytest.raises(ConfigError, match='already holds a run; continue it with --resume'):
        pretrain(central(tiny_videos), references('sgd')[2], hook=Hook())


@pytest.mark.parametrize(('change', 'message'), [
    (dict(epochs=4), r'training.epochs: 3 -> 4$'),
    (dict(batch_size=2), r'data.batch_size: 4 -> 2$'),
    (dict(optim_wrapper=ADAMW), r'optim_wrapper.optimizer.type: "SGD" -> "AdamW"$'),
])
def test_resume_refuses_another_config_and_shows_the_difference(references, tiny_videos, change, message):
    with pytest.raises(ConfigError, match=message):
        pretrain(central(tiny_videos, **change), references('sgd')[2], resume=True, hook=Hook())


def test_a_federated_run_is_not_continued_here_and_does_not_mind_the_section(tiny_videos, tmp_path):
    config = from_dict(tiny_values(tiny_videos, rounds=1, clients_per_round=1) | dict(training=dict(epochs=1)))
    state = federate(config, tmp_path, hook=Hook())
    other = replace(config, training=replace(config.training, epochs=2))
    assert federate(other, tmp_path, resume=True, hook=Hook()).round == state.round == 1
    with pytest.raises(ConfigError, match='federation.rounds: 1 -> .absent'):
        pretrain(config, tmp_path, resume=True, hook=Hook())


def test_what_is_different_in_one_place(tiny_videos):
    config = central(tiny_videos, ADAMW, schedule=dict(type='CosineSchedule'))
    ours = config.centralised()
    assert (ours.optim_wrapper, ours.schedule, ours.data.batch_size) == (ADAMW, dict(type='CosineSchedule'), 4)
    assert ours.federation is None and ours.data.partition is None and ours.centralised() == ours
    plain = from_dict(tiny_values(tiny_videos) | dict(training=dict(epochs=3))).centralised()
    assert (plain.optim_wrapper, plain.schedule, plain.data.batch_size) == (config.optim_wrapper, config.schedule, 2)
    theirs = config.federated()
    assert theirs.training is None and theirs.optim_wrapper == config.optim_wrapper and theirs.data == config.data


def test_finetuning_takes_them_too(tiny_videos):
    config = from_dict(tiny_finetuning_values(tiny_videos, optim_wrapper=ADAMW, batch_size=8))
    job = FineTuning(config)
    assert type(job.trainer.optim_wrapper.optimizer).__name__ == 'AdamW' and job.train_loader.batch_size == 8


def test_each_way_of_training_hashes_what_it_uses(tmp_path):
    """What either tool does not use can be there, differ or be absent."""
    values = tiny_values(tmp_path)
    federated, both = from_dict(values), central(tmp_path)
    assert config_hash(both.federated()) == config_hash(federated) == config_hash(federated.federated())
    assert config_hash(central(tmp_path, epochs=9, batch_size=1).federated()) == config_hash(federated)

    def stated(optimizer):
        data = {key: value for key, value in values['data'].items() if key != 'partition'}
        return from_dict(dict(model=values['model'], data=dict(data, batch_size=4), schedule=values['schedule'],
                              optim_wrapper=optimizer, training=dict(epochs=3, evaluate_every=2)))

    assert config_hash(both.centralised()) == config_hash(stated(SGD)) == config_hash(stated(SGD).centralised())
    assert config_hash(both.centralised()) != config_hash(stated(ADAMW))
    assert differences(identity(both.centralised()), identity(stated(dict(SGD, clip_grad=dict(max_norm=3))))) == [
        'optim_wrapper.clip_grad.max_norm: 40 -> 3']
    assert config_hash(both.centralised()) != config_hash(both.federated())


@pytest.mark.parametrize(('training', 'message'), [
    (dict(optim_wrapper=dict(SGD, optimizer=dict(type='SGD', momentun=1))),
     "training.optim_wrapper.optimizer.momentun: unknown argument of SGD; did you mean 'momentum'"),
    (dict(optim_wrapper={}), 'training.optim_wrapper.optimizer: is required and missing'),
    (dict(optim_wrapper=dict(SGD, clip_grad=dict(max_nrm=1))), 'training.optim_wrapper.clip_grad.max_nrm: unknown'),
    (dict(schedule=dict(type='StepShedule')), "training.schedule.type: .*did you mean 'StepSchedule'"),
    (dict(batch_size=0), 'training.batch_size: must be at least 1, not 0'),
    (dict(batch_size='4'), "training.batch_size: must be of type int, not '4'"),
    (dict(optimizer={}), "training.optimizer: unknown key; did you mean 'optim_wrapper'"),
])
def test_the_overrides_are_checked(tmp_path, training, message):
    values = tiny_values(tmp_path) | dict(training=dict(epochs=3) | training)
    with pytest.raises(ConfigError, match=message):
        check_types(from_dict(values))


def test_a_config_without_the_section(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match=r'training: this tool needs .* add e.g. training = dict\(epochs=90\), with'):
        pretrain(tiny_config(), tmp_path / 'run')
    assert list(tmp_path.iterdir()) == []


def test_finetuning_starts_from_it(references, tiny_videos):
    state, _, work_dir = references('adamw')
    job = FineTuning(from_dict(tiny_finetuning_values(tiny_videos)))
    assert str(job.load(str(work_dir))).startswith('matched 120, missing 0, unexpected 4')
    tensors = job.trainer.model.state_dict()
    assert all(np.array_equal(tensors[name].numpy(), tensor) for name, tensor in state.tensors.items()
               if name.startswith('backbone.'))


def with_sampler(config, phase, **sampler):
    changed = replace(getattr(config.data, phase), sampler=sampler)
    return replace(config, data=replace(config.data, **{phase: changed}))


def test_labels_are_withheld_and_a_task_that_would_learn_them_is_refused(tiny_videos, tmp_path):
    config = central(tiny_videos)
    job = Pretraining(config.centralised())
    assert {video.label for phase in (job.train, job.test) for video in phase.dataset.videos} == {-1}

    values = tiny_finetuning_values(tiny_videos)
    with pytest.raises(ConfigError, match='data.train.sampler: neither RandomClipSampler nor .* Recognizer is'):
        pretrain(from_dict(values), tmp_path / 'run', hook=Hook())
    values['model']['type'] = 'Speed'  # the right model, but nothing makes its target
    with pytest.raises(ConfigError, match='data.train.sampler: neither RandomClipSampler nor .* Speed is'):
        check_pretraining(from_dict(values))
    with pytest.raises(ConfigError, match=r'data.test.sampler: neither MidTickSampler nor .* VCOP is to learn'):
        check_pretraining(with_sampler(config, 'test', type='MidTickSampler', clip_length=4, num_clips=3))
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_an_augmentation_makes_will_do(tiny_videos):
    values = tiny_finetuning_values(tiny_videos, num_classes=4)
    values['model'] = dict(values['model'], type='Rot3D',
                           data_preprocessor=dict(type='ClipPreprocessor', augments=[dict(type='Rotate90')]))
    assert check_pretraining(from_dict(values)).startswith('ok: 16 videos, 8 held out, 2 epochs of 4 steps')


def test_a_check_counts_missing_videos(tiny_videos, tmp_path):
    values = tiny_values(tiny_videos)
    values['training'] = dict(epochs=1)
    list_file = tmp_path / 'list.csv'
    list_file.write_text('path,split\ntrain/00000.mp4,train\ntrain/none.mp4,train\ntest/00000.mp4,test\n')
    values['data'] |= dict(annotations=str(list_file))
    with pytest.raises(BadVideosError, match='1 of 2 videos are missing, such as train/none.mp4; that is more than'):
        check_pretraining(from_dict(values))


def test_a_diverging_run_ends_and_keeps_its_last_good_epoch(references, tiny_videos, tmp_path):
    """The learning rate jumps to 1e27 after the first of three epochs."""
    config, record = central(tiny_videos, schedule=dict(type='StepSchedule', milestones=[1 / 3], gamma=1e30)), Record()
    with pytest.raises(ConfigError, match='training diverged: the loss of epoch 2 is (nan|inf).*training.optim_w'):
        pretrain(config, tmp_path, hook=record)
    assert epochs_in(tmp_path) == [1] and record.end['rounds'] == 1 and 'diverged' in record.end['error']
    ours, theirs = (read_weights(path / 'rounds/round-000001') for path in (tmp_path, references('sgd')[2]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_weights_that_the_last_step_spoiled_are_never_committed(tiny_videos, tmp_path, monkeypatch):
    original = Trainer.fit

    def spoiling(self, batches, span, hook, number):
        metrics = original(self, batches, span, hook, number)
        if number == 2:
            self.model.head.fc2.bias.data[0] = torch.inf
        return metrics

    monkeypatch.setattr(Trainer, 'fit', spoiling)
    with pytest.raises(ConfigError, match='training diverged: head.fc2.bias is not finite after epoch 2'):
        pretrain(central(tiny_videos), tmp_path, hook=Hook())
    assert epochs_in(tmp_path) == [1]


def test_unreadable_videos_are_replaced_counted_and_named(tiny_videos, tmp_path):
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    (root / 'train/00005.avi').write_bytes(b'not a video')
    config = central(root, epochs=1)
    lenient = replace(config, data=replace(config.data, max_bad_videos=0.1))
    states = [pretrain(lenient, tmp_path / name, hook=Hook()) for name in ('run', 'again')]
    assert fingerprint(states[0]) == fingerprint(states[1])
    assert list(json.loads((tmp_path / 'run/bad_videos.json').read_text())) == ['train/00005.avi']
    with pytest.raises(BadVideosError, match='1 of 16 videos'):
        pretrain(config, tmp_path / 'strict', hook=Hook())
    assert epochs_in(tmp_path / 'strict') == [] and (tmp_path / 'strict/bad_videos.json').exists()

    for video in (root / 'test').iterdir():
        video.write_bytes(b'not a video')
    with pytest.raises(DataListError, match='none of the held-out videos is readable'):
        pretrain(replace(config, data=replace(config.data, max_bad_videos=1.0)), tmp_path / 'blind', hook=Hook())


def test_a_run_that_lost_a_video_to_a_deadline_says_so(tiny_videos, tmp_path, losing):
    config = central(tiny_videos, epochs=2)
    config = replace(config, data=replace(config.data, max_bad_videos=0.1))
    sound = pretrain(config, tmp_path / 'sound', hook=Hook())
    assert sound.reproducible and sound.metrics['read_by'] == {'pyav': 16}
    losing('train/00005.avi')
    assert not pretrain(config, tmp_path / 'lossy', hook=Hook()).reproducible
    with closing(RoundStore(tmp_path / 'lossy', about={})) as store:
        restored = store.restore(pretrain(replace(config, seed=8), tmp_path / 'other', hook=Hook()))
    assert not restored.reproducible
    with closing(Pretraining(config.centralised())) as job:  # a resumed run does not forget it
        job.load(restored)
        assert not job.state(2, {}).reproducible


def test_the_state_of_a_loss_scaler_is_kept(tiny_videos, tmp_path, monkeypatch):
    """Mixed precision needs a GPU, its scaler does not."""
    original = module.build_trainer

    def scaled(config):
        trainer = original(config)
        trainer.optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0 ** 5)
        return trainer

    monkeypatch.setattr(module, 'build_trainer', scaled)
    job = Pretraining(central(tiny_videos).centralised())
    assert job.state(0, {}).loss_scale['scale'] == 32
    moved = replace(job.state(1, {}), loss_scale=dict(job.trainer.loss_scale, scale=8.0, _growth_tracker=5))
    store = module.RoundStore(tmp_path)
    store.commit(moved)
    job.load(store.restore(job.state(0, {})))
    assert job.trainer.loss_scale['scale'] == 8 and job.trainer.loss_scale['_growth_tracker'] == 5


def test_check_says_what_would_run_and_writes_nothing(tiny_videos, tmp_path):
    config = tmp_path / 'run.py'
    config.write_text(''.join(f'{key} = {value!r}\n' for key, value in tiny_values(tiny_videos).items()))
    options = ['training.epochs=5', 'training.batch_size=3']
    arguments = ['--check', '--work-dir', tmp_path / 'run', '--cfg-options', *options]
    run = subprocess.run([sys.executable, TOOL, config, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('ok: 16 videos, 8 held out, 5 epochs of 6 steps with 3 videos, 124 tensors (')
    assert list(tmp_path.iterdir()) == [config]
