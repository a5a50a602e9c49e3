"""The state of a run and where it is kept: a round is the unit of recovery.

    work_dir/config.json                     what the run is: all of its config that can change a result, and its list
    work_dir/rounds/round-000012/            one commit per round: global.safetensors, state.json, manifest.json
    work_dir/rounds/latest                   link to the newest
    work_dir/clients/00003/head-000012/      a client's head after round 12, kept on the client's own disk

Where one machine trains alone, a round is an epoch, its commit holds optimizer.safetensors as well, and there are no
clients. A federated commit names the head round of every client. A client loads exactly that one, so that a round that
was never committed leaves no trace.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from fedvssl.commit import (
    commit_name,
    crash_point,
    latest_commit,
    list_commits,
    prune,
    read_commit,
    remove_temporaries,
    write_commit,
    write_json,
)
from fedvssl.config import differences
from fedvssl.errors import CheckpointError, ConfigError, StorageError
from fedvssl.weights import GLOBAL_FILE, ROUND_PREFIX, ROUNDS_DIR

STATE_FILE = 'state.json'
STRATEGY_FILE = 'strategy.safetensors'
OPTIMIZER_FILE = 'optimizer.safetensors'
LOCK_FILE = '.lock'
CONFIG_FILE = 'config.json'
HEAD_FILE = 'head.safetensors'
HEAD_PREFIX = 'head'

Tensors = Mapping[str, np.ndarray]

# How a field of a state is stored: named tensors in a file of their own, or, by default, as JSON in `STATE_FILE`, whose
# objects have no integer keys.
_FILE, _BY_PARTITION = 'file', 'by partition'


@dataclass(frozen=True)
class RunState:
    """What the next round of any run needs.

    Attributes:
        round: Last finished round; 0 before the first.
        tensors: The model, or what is shared of it, by name.
        metrics: The last round's metrics.
        reproducible: Whether privacy noise, if any, comes from the seed, and no training video was given up so far
            because its process was late, or died: what took its place is in the tensors, and another machine may not
            miss it.
    """

    round: int
    tensors: Tensors = field(metadata={_FILE: GLOBAL_FILE})
    metrics: dict[str, Any] = field(default_factory=dict)
    reproducible: bool = True


@dataclass(frozen=True)
class FederatedState(RunState):
    """Everything the next round of a federation needs.

    Attributes:
        strategy: What the strategy keeps between rounds (plain JSON values).
        strategy_tensors: The arrays that it keeps, such as a server optimiser's moments.
        heads: Round of the newest committed head, by partition.
        bad_videos: Unreadable videos met so far, by partition.
        examples: Training videos, by partition, as far as it has taken part.
        costs: What the run has cost so far, by partition, see `fedvssl.federated.costs`.
    """

    strategy: dict[str, Any] = field(default_factory=dict)
    strategy_tensors: Tensors = field(default_factory=dict, metadata={_FILE: STRATEGY_FILE})
    heads: dict[int, int] = field(default_factory=dict, metadata={_BY_PARTITION: True})
    bad_videos: dict[int, int] = field(default_factory=dict, metadata={_BY_PARTITION: True})
    examples: dict[int, int] = field(default_factory=dict, metadata={_BY_PARTITION: True})
    costs: dict[int, dict[str, float]] = field(default_factory=dict, metadata={_BY_PARTITION: True})


@dataclass(frozen=True)
class CentralState(RunState):
    """Everything the next epoch needs where one machine trains alone.

    Attributes:
        optimizer: The optimiser's state, ``<parameter>.<key>`` to tensor.
        loss_scale: State of mixed precision's loss scaler (plain JSON values); empty without one.
    """

    optimizer: Tensors = field(default_factory=dict, metadata={_FILE: OPTIMIZER_FILE})
    loss_scale: dict[str, Any] = field(default_factory=dict)


AnyState = TypeVar('AnyState', bound=RunState)


class RoundStore:
    """Commits of a run below its work directory.

    Args:
        work_dir: The run's directory.
        keep_last: Rounds to keep.
        about: What every commit says of the run beside its state, e.g. config hash and environment (JSON values).
    """

    def __init__(self, work_dir: Path, keep_last: int = 3, about: Mapping[str, Any] | None = None) -> None:
        self.work_dir = work_dir
        self.keep_last = keep_last
        self.about = dict(about or {})
        self.rounds = work_dir / ROUNDS_DIR
        self._lock: IO[str] | None = None

    def open(self, identity: Mapping[str, Any], resume: bool) -> None:
        """Claims the work directory for a run, or checks that it is this run's.

        Args:
            identity: The config as `fedvssl.config.identity` gives it.
            resume: Whether the run is to be continued.

        Raises:
            ConfigError: If the directory holds a run and `resume` is false, or another run, or one that is under way.
            StorageError: If nothing can be written there.
        """
        self._acquire()
        try:
            self._claim(identity, resume)
            remove_temporaries(self.work_dir)
        except BaseException:
            self.close()
            raise

    def _acquire(self) -> None:
        """Keeps other processes out for as long as this one lives or until `close`."""
        try:
            self.work_dir.mkdir(parents=True, exist_ok=True)
            self._lock = (self.work_dir / LOCK_FILE).open('w')
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise ConfigError(f'{self.work_dir}: another process is running here; wait for it or choose another '
                              f'--work-dir') from error
        except OSError as error:
            raise StorageError(f'{self.work_dir}: cannot be written: {error.strerror or error}') from error

    def close(self) -> None:
        """Lets others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _claim(self, identity: Mapping[str, Any], resume: bool) -> None:
        file = self.work_dir / CONFIG_FILE
        if not file.exists():
            if resume:
                raise ConfigError(f'--resume: {self.work_dir} holds no run')
            if list_commits(self.rounds, ROUND_PREFIX):
                raise ConfigError(f'{self.work_dir}: holds rounds but no {CONFIG_FILE}; choose another --work-dir')
            write_json(file, identity)
            return
        if not resume:
            raise ConfigError(f'{self.work_dir}: already holds a run; continue it with --resume or choose another '
                              f'--work-dir')
        try:
            changed = differences(json.loads(file.read_text()), identity)
        except ValueError as error:
            raise CheckpointError(f'{file}: damaged ({error})') from error
        if changed:
            raise ConfigError(f'--resume (it needs the same --cfg-options): {self.work_dir} holds a run with another '
                              f'config:\n  ' + '\n  '.join(changed))

    def commit(self, state: RunState) -> None:
        """Makes a round's state durable, points ``latest`` at it, and removes rounds that are no longer kept.

        Raises:
            StorageError: If it cannot be written; the commits before it are untouched.
        """
        files: dict[str, bytes] = {}
        document: dict[str, Any] = {}
        for spec in fields(state):
            value = getattr(state, spec.name)
            if _FILE in spec.metadata:
                files[spec.metadata[_FILE]] = format_tensors(_contiguous(value))
            else:
                document[spec.name] = value
        files[STATE_FILE] = json.dumps({**document, 'about': self.about}, indent=1).encode()
        write_commit(self.rounds / commit_name(ROUND_PREFIX, state.round), files)
        self._settle(state.round)

    def _settle(self, newest: int) -> None:
        """Points ``latest`` at the newest sound round and removes those that are no longer kept."""
        _link(self.rounds / 'latest', commit_name(ROUND_PREFIX, newest))
        numbers = [number for number, _ in list_commits(self.rounds, ROUND_PREFIX)]
        prune(self.rounds, ROUND_PREFIX, [number for number in numbers if number > newest - self.keep_last])

    def restore(self, initial: AnyState) -> AnyState:
        """Returns the newest sound state, or `initial` where no round was finished.

        What a process that was killed did not come to is done here: after the last round, no other commit would do it.

        Raises:
            CheckpointError: If all commits are damaged, or the newest is not of this model.
        """
        latest = latest_commit(self.rounds, ROUND_PREFIX)
        if latest is None:
            return initial
        number, directory, files = latest
        document = json.loads(files[STATE_FILE])
        values: dict[str, Any] = {}
        for spec in fields(initial):
            if _FILE in spec.metadata:
                values[spec.name] = parse_tensors(files[spec.metadata[_FILE]])
            elif _BY_PARTITION in spec.metadata:
                values[spec.name] = {int(partition): value for partition, value in document[spec.name].items()}
            else:
                values[spec.name] = document[spec.name]
        require_same_model(initial.tensors, values['tensors'], str(directory))
        values['tensors'] = {name: values['tensors'][name] for name in initial.tensors}
        self._settle(number)
        return type(initial)(**values)


class HeadStore:
    """What stays with one client: the tensors that are not shared, one commit per round it took part in.

    Args:
        work_dir: The run's directory.
        partition: The client's partition.
    """

    def __init__(self, work_dir: Path, partition: int) -> None:
        self.directory = work_dir / 'clients' / f'{partition:05d}'

    def load(self, round_number: int) -> dict[str, np.ndarray]:
        """Reads the head of a round.

        Raises:
            CheckpointError: If it is missing or damaged.
        """
        return parse_tensors(read_commit(self.directory / commit_name(HEAD_PREFIX, round_number))[HEAD_FILE])

    def newest(self) -> int:
        """Returns the round of the newest head, or -1."""
        heads = list_commits(self.directory, HEAD_PREFIX)
        return heads[-1][0] if heads else -1

    def save(self, round_number: int, tensors: Tensors, base: int | None, keep_last: int = 3) -> None:
        """Writes the head of a round and removes those that no kept commit of the server can name.

        Args:
            round_number: Round it was trained in.
            tensors: The head.
            base: Round of the head it was trained from: the newest that is committed, or None.
            keep_last: Commits that the server keeps; as many heads stay, up to `base`. Any later one was never
                committed.

        Raises:
            StorageError: If it cannot be written.
        """
        write_commit(self.directory / commit_name(HEAD_PREFIX, round_number),
                     {HEAD_FILE: format_tensors(_contiguous(tensors))})
        committed = [number for number, _ in list_commits(self.directory, HEAD_PREFIX)
                     if base is not None and number <= base]
        prune(self.directory, HEAD_PREFIX, {round_number, *committed[-keep_last:]})


def require_same_model(expected: Tensors, found: Tensors, source: str) -> None:
    """Checks that two sets of tensors agree in names, shapes and types.

    Raises:
        CheckpointError: Naming the first tensor that differs.
    """
    for name in [*expected, *found]:
        if name not in found or name not in expected:
            place = 'this model' if name in expected else 'the checkpoint'
            raise CheckpointError(f'{source}: is of another model: only {place} has {name}')
        ours, theirs = expected[name], found[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise CheckpointError(f'{source}: is of another model: {name} is {theirs.dtype} {theirs.shape}, '
                                  f'this model needs {ours.dtype} {ours.shape}')


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f'.{link.name}.{os.getpid()}.tmp')
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        crash_point(f'linking:{link.name}')
        temporary.replace(link)
        crash_point(f'linked:{link.name}')
    except OSError as error:
        raise StorageError(f'{link}: could not be linked to {target}: {error.strerror or error}') from error


def _contiguous(tensors: Tensors) -> dict[str, np.ndarray]:
    # np.ascontiguousarray would turn a 0-d counter into a vector.
    return {name: np.asarray(tensor, order='C') for name, tensor in tensors.items()}
