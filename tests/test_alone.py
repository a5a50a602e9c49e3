"""Pretraining on what one client of the federation has, and nothing else."""

from dataclasses import replace

import pytest

from fedvssl.compare.loading import load_comparison
from fedvssl.compare.plan import plan
from fedvssl.config import config_hash, from_dict, identity
from fedvssl.data.client_lists import write_client_lists
from fedvssl.data.dataset import read_videos
from fedvssl.data.partitioners import build_partitions
from fedvssl.errors import ConfigError
from fedvssl.evaluation.supervised import FineTuning
from fedvssl.federated.client import Client
from fedvssl.pretraining import Pretraining, check_pretraining, pretrain
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values, tiny_values


def alone(root, client=None, partition=None, **training):
    """Returns a config; `client` as in ``training.client``, left out if None."""
    own = {} if client is None else dict(client=client)
    values = tiny_values(root) | dict(training=dict(epochs=2, batch_size=4) | own | training)
    if partition:
        values['data']['partition'] = partition
    return from_dict(values)


class Seen(Hook):
    """Remembers how many videos a run has."""

    def before_run(self, info):
        self.videos, self.steps = info['videos'], info['steps']


@pytest.mark.parametrize('partition', [dict(type='IIDPartitioner', num_clients=3),
                                       dict(type='ColumnPartitioner', column='group'),
                                       dict(type='ClassBlocksPartitioner', num_clients=4, classes_per_client=2)])
def test_the_videos_are_those_of_the_client_without_labels(tiny_videos, tmp_path, partition):
    federated = alone(tiny_videos, partition=partition).federated()
    clients = Client(federated, tmp_path).train_split
    met = []
    for client, indices in enumerate(clients.partitions):
        job = Pretraining(alone(tiny_videos, client, partition).centralised())
        assert [video.path for video in job.train.dataset.videos] == [clients.dataset.videos[i].path for i in indices]
        assert {video.label for video in job.train.dataset.videos} == {-1}
        assert len(job.test.dataset) == 8
        met += [video.path for video in job.train.dataset.videos]
        job.close()
    assert len(clients.partitions) > 2 and len(set(met)) == len(met) == 16


def test_nothing_else_is_trained_on(tiny_videos, tmp_path, monkeypatch):
    from fedvssl.data.dataset import ClipDataset

    loaded, original = set(), ClipDataset.load

    def spy(self, index, *args, **kwargs):
        loaded.add(self.videos[index].path)
        return original(self, index, *args, **kwargs)

    config = alone(tiny_videos, 1)
    config = replace(config, data=replace(config.data, test=None))
    videos = read_videos(config.data, 'train')
    own = {videos[index].path for index in build_partitions(config.data, videos, config.seed)[1]}
    monkeypatch.setattr(ClipDataset, 'load', spy)
    hook = Seen()
    assert pretrain(config, tmp_path, hook=hook).round == 2
    assert loaded == own and (hook.videos, hook.steps) == (4, 1)


def test_the_seed_decides_which_videos_as_it_does_in_the_federation(tiny_videos):
    def paths(seed):
        job = Pretraining(replace(alone(tiny_videos, 0), seed=seed).centralised())
        job.close()
        return [video.path for video in job.train.dataset.videos]

    assert paths(7) != paths(8)


def test_what_a_run_is_says_which_client(tiny_videos):
    plain, first, second = (alone(tiny_videos, client).centralised() for client in (None, 0, 1))
    assert len({config_hash(config) for config in (plain, first, second)}) == 3
    assert identity(first)['training']['client'] == 0
    assert identity(first)['data']['partition'] == dict(type='IIDPartitioner', num_clients=4)
    assert 'client' not in identity(plain)['training'] and identity(plain)['data']['partition'] is None
    assert first.centralised() == first
    assert config_hash(alone(tiny_videos, 1).federated()) == config_hash(alone(tiny_videos).federated())


def test_no_such_client(tiny_videos):
    with pytest.raises(ConfigError, match='training.client: must be 0 to 3, not 4; data.partition makes 4 clients'):
        check_pretraining(alone(tiny_videos, 4))
    with pytest.raises(ConfigError, match=r'training.client: is the number of a client, from 0, .* not -1'):
        alone(tiny_videos, -1)
    config = alone(tiny_videos, 0)
    config = replace(config, data=replace(config.data, partition=None))
    with pytest.raises(ConfigError, match='data.partition: it says which videos each client has'):
        check_pretraining(config)


def test_lists_of_clients_are_part_of_the_run(tiny_videos, tmp_path):
    names = [video.path.removesuffix('.mp4').removesuffix('.avi')
             for video in read_videos(alone(tiny_videos).data, 'train')]
    entries = [dict(name=name, label=1) for name in names]
    write_client_lists(tmp_path / 'lists', [entries[:4], entries[4:]])
    config = alone(tiny_videos, 0, dict(type='ListsPartitioner', directory=str(tmp_path / 'lists')), epochs=1)
    pretrain(config, tmp_path / 'run', hook=Hook())
    before = [job.work_dir for job in _alone_jobs(config, tmp_path)]
    assert before == [job.work_dir for job in _alone_jobs(config, tmp_path)]
    write_client_lists(tmp_path / 'lists', [entries[4:], entries[:4]], overwrite=True)
    with pytest.raises(ConfigError, match='videos_sha256'):
        pretrain(config, tmp_path / 'run', resume=True, hook=Hook())
    assert not set(before) & {job.work_dir for job in _alone_jobs(config, tmp_path)}


def _alone_jobs(config, folder):
    """Returns the pretraining jobs of a comparison of one arm of clients alone."""
    values = identity(config)
    values.update(training=dict(epochs=1, batch_size=4))
    tuning = tiny_finetuning_values(config.data.root)
    for name, content in (('leaf', values), ('tune', tuning)):
        (folder / f'{name}.py').write_text('\n'.join(f'{key} = {value!r}' for key, value in content.items()))
    (folder / 'compare.py').write_text(
        "seeds = [7]\narms = [dict(name='alone', kind='alone', config='leaf.py')]\n"
        "evaluations = [dict(task='knn', config='tune.py')]\n")
    planned = plan(load_comparison(folder / 'compare.py'), folder / 'out')
    return [job for job in planned.jobs if not job.is_evaluation]


def test_where_every_host_has_its_own_list_there_is_no_client_to_name(tiny_videos):
    with pytest.raises(ConfigError, match='training.client: where every host has a list of its own'):
        Pretraining(alone(tiny_videos, 0, dict(type='OwnListPartitioner', num_clients=3)).centralised())


def test_finetuning_knows_no_clients(tiny_videos):
    config = from_dict(tiny_finetuning_values(tiny_videos, client=0))
    with pytest.raises(ConfigError, match=r'training.client: is for pretraining \(tools/train.py\)'):
        FineTuning(config)


def test_the_check_counts_the_clients_videos(tiny_videos):
    assert check_pretraining(alone(tiny_videos, 3)).startswith('ok: 4 videos, 8 held out, 2 epochs of 1 steps')
