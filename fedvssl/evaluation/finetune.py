"""Fine-tuning: train the whole network on labels, from a pretrained backbone or from scratch, and test it.

The test follows CtP and FedVSSL: clips at mid-ticks of each video, logits averaged over the clips; top-1, top-5 and
mean class accuracy. Best and last are both reported; the last is the result, because the best is chosen by the test
videos. An epoch is the unit of recovery, as in pretraining:

    work_dir/rounds/round-000012/    after epoch 12: the whole model, its optimiser, and what was measured so far
    work_dir/result.json             after the last one
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from fedvssl.config import RunConfig, config_hash, identity
from fedvssl.data.annotations import list_digest
from fedvssl.data.dataset import list_digests
from fedvssl.environment import describe_environment
from fedvssl.errors import CheckpointError
from fedvssl.evaluation.protocol import training_protocol
from fedvssl.evaluation.result import RESULT_FILE, require_free, write_result
from fedvssl.evaluation.supervised import FineTuning, FineTuningState
from fedvssl.state import RoundStore
from fedvssl.training.hooks import Hook

MEASURED = ('top1', 'top5', 'mean_class')


def finetune(config: RunConfig, work_dir: Path, pretrained: str | None, hook: Hook,
             resume: bool = False) -> dict[str, Any]:
    """Fine-tunes, tests, and writes ``result.json``.

    Args:
        config: The run; its model decides what is trained, and what the result calls that (``task``).
        work_dir: Where the run is kept; must not hold one unless it is to be resumed.
        pretrained: Checkpoint of a backbone; None trains from scratch.
        hook: Side jobs; its `before_run` gets the load report.
        resume: Whether to continue the run there; one that is finished is left as it is.

    Returns:
        What ``result.json`` holds.

    Raises:
        FedVSSLError: For bad input, a loss that is not finite, too many unreadable videos, storage and checkpoint
            failures. The last committed epoch is intact.
    """
    if not resume:
        require_free(work_dir)
    with closing(FineTuning(config)) as job:
        config = job.config
        weights = str(job.load(pretrained)) if pretrained else 'random'
        source = dict(pretrained_sha256=job.backbone_digest() if pretrained else None)
        about = dict(config_hash=config_hash(config), seed=config.seed, environment=describe_environment())
        with closing(RoundStore(work_dir, config.runtime.keep_last, about)) as store:
            store.open(dict(identity(config), **list_digests(config.data), **source), resume)
            if (work_dir / RESULT_FILE).exists():
                result = read_result(work_dir)
                _tell(hook, result, work_dir)
                return result
            start = job.start()
            state = store.restore(start) if resume else start
            hook.before_run(dict(rounds=job.settings.epochs, first_round=state.round + 1,
                                 pretrained=pretrained or 'none', weights=weights, config=config_hash(config)[:12]))
            return _run(job, state, store, hook, dict(pretrained=pretrained, **source))


def _run(job: FineTuning, state: FineTuningState, store: RoundStore, hook: Hook, source: dict) -> dict[str, Any]:
    """Trains and commits the epochs that `state` lacks, and writes the result."""
    try:
        job.restore(state)
        for epoch in range(state.round + 1, job.settings.epochs + 1):
            hook.before_round(epoch, job.steps)
            finished = job.run_epoch(state, hook)
            store.commit(finished)
            state = finished
            hook.after_round(epoch, state.metrics)
        result = _write(job, state, store.work_dir, source)
    except BaseException as error:
        hook.after_run(dict(error=f'{type(error).__name__}: {error}'))
        raise
    _tell(hook, result, store.work_dir)
    return result


def _tell(hook: Hook, result: dict[str, Any], work_dir: Path) -> None:
    hook.after_run(dict(**result['measured'], n=result['n'], result=str(work_dir / RESULT_FILE)))


def _write(job: FineTuning, state: FineTuningState, work_dir: Path, source: dict) -> dict[str, Any]:
    labels = dict(videos=len(job.train), sha256=list_digest(job.train.videos))
    return write_result(
        work_dir, job.config, job.task, training_protocol(job.config, job.task),
        measured={name: state.last[name] for name in MEASURED}, n=state.last['n'], shares=('top1', 'top5'),
        train_videos=len(job.train), train_labels=labels, last=state.last, best=state.best, curve=state.curve,
        bad_videos=state.bad_videos, reproducible=state.reproducible, read_by=state.read_by, seconds=state.seconds,
        **source)


def read_result(work_dir: Path) -> dict[str, Any]:
    """Returns what the ``result.json`` of a finished run holds.

    Raises:
        CheckpointError: If it is damaged.
    """
    file = work_dir / RESULT_FILE
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{file}: cannot be read ({error}); remove it and resume, which writes it again '
                              f'from the last epoch') from error
