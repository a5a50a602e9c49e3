"""What a comparison is: a config file of its own, which names arms, evaluations, settings and seeds.

    seeds = [7, 8, 9]
    settings = dict(easy={}, hard={'data.test.split': 'other'})
    arms = [
        dict(name='scratch', kind='scratch'),
        dict(name='FedAvg', kind='federated', config='vcop.py', options={'federation.strategy.type': 'FedAvg'}),
    ]
    evaluations = [dict(task='finetune', config='finetune.py')]

Every arm meets every evaluation that fits it, in every setting, with every seed. Kinds of arms:

    random      no training: random weights                                        all but finetune
    scratch     no pretraining: all of the network learns from labels              finetune
    central     tools/train.py on all videos, in one place                         all
    alone       tools/train.py on one client's videos, for each client in turn     all; the mean over the clients
    federated   tools/fed_train.py                                                 all

Configs are named relative to the comparison's own file. `options` are dotted keys and values as ``--cfg-options`` takes
them; those of the comparison come first, then the setting's, then the arm's or evaluation's, then the command line's.
Of those that are for all, the federation's pass the evaluations by.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path
from typing import Any

from fedvssl.errors import suggest
from fedvssl.sections import require

TASKS = {'finetune': ['top1'], 'linear': ['top1'], 'knn': ['knn20_top1'], 'retrieval': ['recall1', 'recall5']}
"""Tasks, and which of their figures the table shows unless a comparison says otherwise."""

KINDS = ('random', 'scratch', 'central', 'alone', 'federated')
PRETRAINED = ('central', 'alone', 'federated')


@dataclass(frozen=True)
class ArmConfig:
    """One way of coming by a backbone.

    `evaluations` names those it is to be met by; None: all that fit its kind.
    """

    name: str
    kind: str
    config: str | None = None  # of the pretraining
    options: dict = field(default_factory=dict)
    evaluations: list | None = None


@dataclass(frozen=True)
class Evaluation:
    """One way of measuring a backbone; `measures` are the figures to show, as the result names them."""

    task: str
    config: str
    name: str | None = None  # None: that of the task
    options: dict = field(default_factory=dict)
    measures: list | None = None

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.task

    @property
    def shown(self) -> list[str]:
        """The figures to show."""
        return self.measures or TASKS[self.task]


@dataclass(frozen=True)
class ComparisonConfig:
    """A whole comparison, as its file has it."""

    arms: list
    evaluations: list
    seeds: list = field(default_factory=lambda: [7, 8, 9])
    settings: dict = field(default_factory=lambda: {'': {}})
    options: dict = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A comparison whose every part is checked.

    Attributes:
        arms: In the order of the table.
        evaluations: Likewise.
        seeds: Of every arm.
        settings: Name to options.
        options: Of all configs.
        reference: Name of the arm that the table gives differences from; None: no differences.
        directory: What the configs' names are relative to.
    """

    arms: Sequence[ArmConfig]
    evaluations: Sequence[Evaluation]
    seeds: Sequence[int]
    settings: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]
    reference: str | None
    directory: Path

    def file(self, config: str) -> Path:
        """Returns where a config is."""
        return Path(normpath(self.directory / config))

    def evaluations_of(self, arm: ArmConfig) -> list[Evaluation]:
        """Returns the evaluations that an arm is to be met by."""
        return [evaluation for evaluation in self.evaluations if fits(arm, evaluation)
                and (arm.evaluations is None or evaluation.title in arm.evaluations)]

    def only(self, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> 'Comparison':
        """Returns the part with the arms named and these seeds; None: all of them.

        Raises:
            ConfigError: If an arm is not there, or a seed is given twice.
        """
        known = [arm.name for arm in self.arms]
        for name in arms or []:
            require(name in known, '--arms', f'no such arm: {name!r}{suggest(name, known)}')
        require_seeds(seeds or self.seeds, '--seeds')
        return replace(self, arms=[arm for arm in self.arms if arms is None or arm.name in arms],
                       seeds=list(seeds or self.seeds))


def fits(arm: ArmConfig, evaluation: Evaluation) -> bool:
    """Returns whether an evaluation can measure what a kind of arm comes to."""
    return arm.kind in PRETRAINED or (arm.kind == 'scratch') == (evaluation.task == 'finetune')


def require_seeds(seeds: Sequence[Any], key: str) -> None:
    """Checks that there are seeds, all different."""
    require(bool(seeds) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds), key,
            f'must be integers, at least one, not {seeds!r}')
    require_different([str(seed) for seed in seeds], key)


def require_different(names: Sequence[str], key: str) -> None:
    """Checks that no name is there twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, key, f'{", ".join(map(repr, twice))} is there twice')
