"""Monitors of what is learned, while it is: is there still a representation, and is the task being learned at all?

A backbone has collapsed when it maps all clips to one point (feature std 0) or to one line (centred rank 1). Both are
measured on a few held-out videos whose labels nobody reads; how well the features tell classes apart is measured by kNN
where the config names a small labelled set.

The limits are absolute, since a healthy run moves both figures far: on the demo (configs/demo/vcop_monitored.py: 24
rounds, 64 clips, 64 dimensions) the centred rank falls from 32 to 6.7 while the accuracy rises from 17 to 98 %, and the
std rises from 0.18 to 0.68 of 1/√C. With random weights the full-width R3D-18 and R(2+1)D-18 have 0.07 and 16 to 18 on
32 of these videos at 8 x 56 x 56.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from fedvssl.commit import commit_name
from fedvssl.config import RunConfig, parse_section
from fedvssl.evaluation.knn import knn_classes
from fedvssl.evaluation.neighbours import nearest
from fedvssl.evaluation.probe import ProbeConfig, choose, copy_of_model, features
from fedvssl.evaluation.rank import centred_rank, feature_std, rankme
from fedvssl.evaluation.watch import Watch
from fedvssl.registry import MODELS, MONITORS, SAMPLERS, build
from fedvssl.sections import require
from fedvssl.training.hooks import Metrics
from fedvssl.training.monitoring import Monitor
from fedvssl.training.rehearsal import target_classes
from fedvssl.weights import ROUND_PREFIX, ROUNDS_DIR

POINT = ('the backbone maps different clips to nearly the same feature. Look at the learning rate, at clients whose '
         'loss or update stands out (UpdateMonitor), and at what keeps the method from collapsing: its negatives, '
         'momentum, predictor or temperature')
LINE = ('the features differ in little more than one direction. Look at the same as for a collapse to a point, and at '
        'whether the pretext task can be solved by one cue such as brightness or time')
CHANCE = ('the pretext task is not being learned. Look at the learning rate and its schedule, at gradient clipping, at '
          'the targets (tools/browse.py), and at whether the clips are long enough to show them')


@MONITORS.register_module()
class RepresentationMonitor(Monitor):
    """Spread, rank and, with a probe, kNN accuracy of the committed backbone; warns of a collapse.

    Args:
        every: Rounds from one measurement to the next.
        clips: How many videos, one clip each, spread and rank are measured on; 0: the probe's test videos.
        split: Which they are; by default the held-out ones, or without any those that are trained on.
        probe: A labelled set, see `ProbeConfig`.
        min_std: A feature std below this share of 1/√C (what evenly spread features have) is a collapse to a point.
        min_rank: A centred rank below this is one to a line.
        patience: Measurements in a row that a figure may be low before that is said.
    """

    def __init__(self, every: int = 10, clips: int = 64, split: str | None = None, probe: dict | None = None,
                 min_std: float = 0.02, min_rank: float = 2.0, patience: int = 2) -> None:
        super().__init__(every)
        require(clips > 0 or clips == 0 and probe is not None, 'RepresentationMonitor.clips',
                f'must be positive, or 0 with a probe, not {clips}')
        require(patience >= 1, 'RepresentationMonitor.patience', f'must be at least 1, not {patience}')
        self.clips, self.split = clips, split
        self.probe = None if probe is None else parse_section(ProbeConfig, probe, 'probe')
        self._watches = {'feature_std': Watch('feature std * sqrt(C)', min_std, patience, POINT),
                         'centred_rank': Watch('centred rank of the features', min_rank, patience, LINE)}

    def prepare(self, config: RunConfig, work_dir: Path) -> None:
        """Reads the lists and draws the videos."""
        self._config, self._rounds_dir, data, seed = config, work_dir / ROUNDS_DIR, config.data, config.seed
        split = self.split if self.split is not None else (data.test or data.train).split
        self._videos = choose(data, split, self.clips, seed, labelled=False) if self.clips else []
        if self.probe is not None:
            there = self.probe.of(data)
            self._gallery, self._queries = (choose(there, part, self.probe.size, seed, labelled=True)
                                            for part in (self.probe.train, self.probe.test))

    def initial(self) -> Metrics:
        """Measures the initial weights: what any figure is to be compared with."""
        return self._measure(None)

    def measure(self, number: int, metrics: Metrics) -> Metrics:
        """Returns ``feature_std`` and ``uniform_std``, which is 1/√C, ``rankme``, ``centred_rank``, ``knn`` where there
        is a probe, and ``collapsed``, which names the figures that have been low for too long.
        """
        found = self._measure(self._rounds_dir / commit_name(ROUND_PREFIX, number))
        values = dict(feature_std=found['feature_std'] / found['uniform_std'], centred_rank=found['centred_rank'])
        low = [name for name, watch in self._watches.items() if watch.see(number, values[name])]
        return {**found, 'collapsed': low}

    def _measure(self, checkpoint: Path | None) -> dict[str, Any]:
        config, probe = self._config, self.probe
        with copy_of_model(config, checkpoint) as model:
            z_NC = features(model, config.data, self._videos, config.seed)[0] if self._videos else None
            if probe is not None:
                gallery, queries = (features(model, probe.of(config.data), videos, config.seed)
                                    for videos in (self._gallery, self._queries))
        if z_NC is None:
            z_NC = queries[0]
        found = dict(feature_std=feature_std(z_NC), uniform_std=1 / math.sqrt(z_NC.shape[1]), rankme=rankme(z_NC),
                     centred_rank=centred_rank(z_NC))
        if probe is not None:
            found['knn'] = _knn(probe, *gallery, *queries)
        return found


@MONITORS.register_module()
class PretextMonitor(Monitor):
    """The pretext task's training accuracy against chance; nothing where the task is not one of counted classes.

    An accuracy is at chance while it is less than three standard deviations sqrt(p (1 - p) / n) above p = 1 / classes.
    Every task may begin there; one that has not left it after `grace` of the rounds is spoken of.

    Args:
        every: Rounds from one measurement to the next.
        patience: Measurements in a row that it may be at chance before that is said.
        grace: Share of the rounds before which nothing is said.
    """

    def __init__(self, every: int = 10, patience: int = 2, grace: float = 0.25) -> None:
        super().__init__(every)
        require(patience >= 1, 'PretextMonitor.patience', f'must be at least 1, not {patience}')
        require(0 <= grace <= 1, 'PretextMonitor.grace', f'is a share between 0 and 1, not {grace}')
        self.patience, self.grace = patience, grace
        self._classes: int | None = None
        self._epochs, self._videos = 1, 0

    def prepare(self, config: RunConfig, work_dir: Path) -> None:
        """Counts the classes."""
        preprocessor = MODELS.build(config.model['data_preprocessor'])
        sampler = config.data.train.sampler  # images have none: their methods make no target
        classes = target_classes(preprocessor.augments, build(SAMPLERS, sampler, 'data sampler') if sampler else None)
        self._classes = None if classes is None else len(classes)
        self._epochs = config.federation.local_epochs if config.federation else 1

    def before_run(self, info: Metrics) -> None:
        """Takes down how long the run is, and how many videos an epoch has."""
        super().before_run(info)
        self._videos = info.get('videos', 0)

    @cached_property
    def _watch(self) -> Watch:
        return Watch('pretext accuracy, in standard deviations above chance,', 3, self.patience, CHANCE,
                     self.grace * self.rounds)

    def measure(self, number: int, metrics: Metrics) -> Metrics:
        """Returns ``chance``, ``above_chance`` in standard deviations, and ``at_chance`` if it has been for long."""
        n = self._epochs * metrics.get('num-examples', self._videos)
        if self._classes is None or 'accuracy' not in metrics or not n:
            return {}
        chance = 1 / self._classes
        above = (metrics['accuracy'] - chance) / math.sqrt(chance * (1 - chance) / n)
        return dict(chance=chance, above_chance=above, at_chance=self._watch.see(number, above))


def _knn(probe: ProbeConfig, gallery_NC: Tensor, labels: Tensor, queries_QC: Tensor, wanted: Tensor) -> float:
    """Returns the share of the queries whose neighbours in the gallery vote for their label."""
    k, classes = min(probe.k, len(gallery_NC)), int(max(labels.max(), wanted.max())) + 1
    guessed = knn_classes(nearest(queries_QC, gallery_NC, k), labels, classes, k, probe.temperature, count=1)
    return float((guessed[:, 0] == wanted).double().mean())
