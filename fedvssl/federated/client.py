"""The client: load the shared model over its own head, train on its own videos, send the shared tensors back.

What is shared is what the server sent; every other tensor is the client's head and stays on its disk. Labels are not
read for training unless the method learns from them (SupCon), and nothing but tensors and numbers leaves the client.
"""

import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from fedvssl import rng
from fedvssl.commit import write_json
from fedvssl.config import RunConfig
from fedvssl.data.annotations import Video
from fedvssl.data.dataset import Dataset, build_dataset, list_digests, read_videos
from fedvssl.data.loader import Loader, build_loader
from fedvssl.data.partition import Partition, digest
from fedvssl.data.partitioners import build_held_out, build_partitions
from fedvssl.errors import ConfigError, DataListError
from fedvssl.federated.arrays import to_arrays, to_record
from fedvssl.federated.messages import (
    ARRAYS,
    BAD_VIDEOS,
    EXAMPLES,
    HEAD_ROUND,
    LOST_VIDEOS,
    METRICS,
    NO_HEAD,
    READ_BY,
    ROUND,
    TRAIN_SECONDS,
    arrays_of,
    config_of,
    identify,
    partition_of,
    scalar,
)
from fedvssl.federated.privacy_mods import train_mods
from fedvssl.federated.starting_point import SCALE, keeps_copy, starting_point
from fedvssl.federated.terms import proximal_term
from fedvssl.state import HeadStore
from fedvssl.training.labels import visible
from fedvssl.training.trainer import Span, Trainer, build_trainer


def build_client_app(config: RunConfig, work_dir: Path, digests: Mapping[str, str] | None = None) -> ClientApp:
    """Builds the Flower app of all clients that a process serves, one after the other.

    Args:
        config: The run.
        work_dir: Where clients keep their heads.
        digests: Digests of lists and partition that the run began with; None accepts whatever is there.
    """
    app = ClientApp()
    client = Client(config, work_dir, digests)
    app.train(mods=train_mods(config))(client.train)
    app.evaluate()(client.evaluate)
    app.query()(identify)
    return app


class _Split:
    """The videos of one phase, loaded by one loader and divided among the clients."""

    def __init__(self, dataset: Dataset, partitions: list[np.ndarray], loader: Loader) -> None:
        self.dataset, self.partitions, self.loader = dataset, partitions, loader

    def bad_in(self, partition: int) -> tuple[dict[str, str], int]:
        """Returns path and reason of the unreadable videos met in a partition, and how many of them were lost."""
        paths = {self.dataset.videos[index].path for index in self.partitions[partition]}
        bad = {path: reason for path, reason in self.dataset.bad.items() if path in paths}
        return bad, len(paths & self.dataset.lost)


class Client:
    """Everything a process needs to act as any of the clients; built on first use.

    Args:
        config: The run.
        work_dir: Where clients keep their heads.
        digests: As for `build_client_app`.
    """

    def __init__(self, config: RunConfig, work_dir: Path, digests: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.digests = digests
        self.work_dir = work_dir
        self.settings = config.section('federation')
        self._aside: dict[str, np.ndarray] = {}  # what the client keeps beside tensors of the model

    @cached_property
    def trainer(self) -> Trainer:
        """The one trainer of this process."""
        trainer = build_trainer(self.config)
        self._initial = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        return trainer

    @cached_property
    def _train_list(self) -> list[Video]:
        """The training list with its labels: a partition may be by class, training never sees them."""
        return read_videos(self.config.data, self.config.data.train.split)

    @cached_property
    def train_split(self) -> _Split:
        """Training videos."""
        data = self.config.data
        dataset = build_dataset(data, data.train, visible(self.config.model, self._train_list), replace_bad=True,
                                device=self.config.runtime.device)
        partitions = build_partitions(data, self._train_list, self.config.seed)
        self._require_same_lists(partitions)
        return _Split(dataset, partitions, build_loader(dataset, data.batch_size, data.workers))

    def _require_same_lists(self, partitions: Partition) -> None:
        """Refuses lists that have changed since the run began: a process that started later would train on others."""
        found = dict(list_digests(self.config.data), partition_sha256=digest(partitions))
        if self.digests is not None and found != self.digests:
            changed = [key for key in found if found[key] != self.digests.get(key)]
            raise DataListError(f'{self.config.data.root}: the lists have changed since the run began '
                                f'({", ".join(changed)}); put the old ones back and resume, or start another run')

    @cached_property
    def test_split(self) -> _Split:
        """Held-out videos."""
        data = self.config.data
        if data.test is None:
            raise ConfigError('data.test: evaluation needs it and the config does not have it')
        videos = read_videos(data, data.test.split)
        dataset = build_dataset(data, data.test, visible(self.config.model, videos), replace_bad=False,
                                device=self.config.runtime.device)
        partitions = build_held_out(data, self._train_list, videos, self.config.seed)
        return _Split(dataset, partitions, build_loader(dataset, data.test_batch_size, data.workers))

    def train(self, message: Message, context: Context) -> Message:
        """Trains one client for one round and replies with its shared tensors, video count and mean loss."""
        partition, number = partition_of(context), int(scalar(config_of(message.content), ROUND))
        head = self._load(message, partition)
        indices = self.train_split.partitions[partition]
        begun, read_before = time.perf_counter(), self.train_split.dataset.read_by.copy()
        model, asked = self.trainer.model, config_of(message.content)
        model.penalty = proximal_term(asked, model, arrays_of(message.content).keys())
        try:
            metrics = self._fit(indices, partition, number)
        finally:  # the next client of this process may have none
            model.penalty = None
        seconds = time.perf_counter() - begun
        shared, keeps_head = self._split_state(message, partition, number, head)
        bad, lost = self.train_split.bad_in(partition)
        if bad:
            write_json(HeadStore(self.work_dir, partition).directory / 'bad_videos.json', bad)
        read_by = self.train_split.dataset.read_by - read_before
        metrics |= {f'{READ_BY}{backend}': count for backend, count in read_by.items()}
        results = MetricRecord({**metrics, EXAMPLES: len(indices), BAD_VIDEOS: len(bad), LOST_VIDEOS: lost,
                                TRAIN_SECONDS: seconds, HEAD_ROUND: number if keeps_head else NO_HEAD})
        arrays = to_record(shared, self.settings.wire_dtype)
        return Message(RecordDict({ARRAYS: arrays, METRICS: results}), reply_to=message)

    def _load(self, message: Message, partition: int) -> int | None:
        """Arms the trainer with initial weights, the client's head and the shared tensors; returns the head's round."""
        trainer = self.trainer
        heads = HeadStore(self.work_dir, partition)
        instructions = config_of(message.content)
        # Flower's own loop does not say which head; then it is the client's newest.
        head = int(scalar(instructions, HEAD_ROUND)) if HEAD_ROUND in instructions else heads.newest()
        own = {} if head == NO_HEAD else _to_tensors(heads.load(head))
        shared = _to_tensors(to_arrays(arrays_of(message.content)))
        unknown = [name for name in (*own, *shared) if name not in self._initial and name != SCALE]
        if unknown:
            raise ConfigError(f'the server sent {unknown[0]!r}, which the model of this client does not have')
        model = {**self._initial, **own, **starting_point(instructions, own, shared)}
        scale = model.pop(SCALE, None)
        self._aside = {} if scale is None else {SCALE: scale.numpy()}
        trainer.rearm(model)
        return None if head == NO_HEAD else head

    def _fit(self, indices: np.ndarray, partition: int, number: int) -> dict[str, float]:
        seed, epochs, rounds = self.config.seed, self.settings.local_epochs, self.settings.rounds
        rng.seed_torch(seed, 'dropout', partition, number)
        loader = self.train_split.loader
        batches = (batch for epoch in range(epochs)
                   for batch in loader.shuffled(indices, seed, partition, number, epoch))
        span = Span((number - 1) / rounds, number / rounds, epochs * loader.num_batches(len(indices)))
        self.trainer.begin_epoch(span.steps)
        return self.trainer.fit(batches, span)

    def _split_state(self, message: Message, partition: int, number: int,
                     base: int | None) -> tuple[dict[str, np.ndarray], bool]:
        """Writes the head, if there is one, to the client's disk; returns the shared tensors and whether it did."""
        state = {name: tensor.detach().cpu().numpy() for name, tensor in self.trainer.model.state_dict().items()}
        names = message.content[ARRAYS].keys()
        copies = keeps_copy(config_of(message.content))
        head = {name: tensor for name, tensor in state.items() if copies or name not in names}
        if head:
            head |= self._aside
            HeadStore(self.work_dir, partition).save(number, head, base, self.config.runtime.keep_last)
        return {name: state[name] for name in names}, bool(head)

    def evaluate(self, message: Message, context: Context) -> Message:
        """Measures the pretext task on this client's share of the held-out videos, with its own head."""
        partition = partition_of(context)
        self._load(message, partition)
        indices = self.test_split.partitions[partition]
        predictions, targets = self.trainer.predict(self.test_split.loader.in_order(indices, self.config.seed, 'test'))
        if not len(targets):
            raise DataListError(f'client {partition} has no readable held-out videos')
        results = MetricRecord({**self.trainer.model.score(predictions, targets), EXAMPLES: len(targets)})
        return Message(RecordDict({METRICS: results}), reply_to=message)


def _to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    with warnings.catch_warnings():  # read-only arrays: the tensors are only copied from
        warnings.simplefilter('ignore', UserWarning)
        return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
