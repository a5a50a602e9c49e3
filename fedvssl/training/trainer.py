"""The one local training loop: clients, centralised pretraining and fine-tuning all use it.

A trainer is built once per process and re-armed for each client (weights, optimiser state, random streams), because
building a model, an optimiser and a loader anew costs more than a small client's training.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from torch import Tensor
from torch.optim import Optimizer

from fedvssl.config import RunConfig
from fedvssl.data.loader import Batch
from fedvssl.errors import ConfigError
from fedvssl.models import BackboneModel, build_model
from fedvssl.registry import SCHEDULES, build
from fedvssl.training.hooks import Hook
from fedvssl.training.schedules import Schedule


@dataclass(frozen=True)
class Span:
    """The part of a run that one call trains: progress `begin`..`end` (both in 0..1) in `steps` optimiser steps."""

    begin: float
    end: float
    steps: int


@dataclass
class Means:
    """Running means of a training's scalars over its steps."""

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Adds one step's scalars."""
        self.steps += 1
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().item()

    def result(self) -> dict[str, float]:
        """Returns the means."""
        return {name: value / self.steps for name, value in self.sums.items()}


class Trainer:
    """A model and its optimiser, ready to train any number of clients or epochs.

    Args:
        model: The model; it is moved to the device.
        optim_wrapper: Config of mmengine's `OptimWrapper`.
        schedule: Learning-rate factor as a function of progress.
        device: Where to compute.
    """

    def __init__(self, model: BackboneModel, optim_wrapper: dict, schedule: Schedule, device: str = 'cpu') -> None:
        try:
            self.model = model.to(device)
        except (RuntimeError, AssertionError) as error:  # the latter if torch was built without CUDA
            raise ConfigError(f'runtime.device: cannot use {device!r}: {str(error).splitlines()[0]}') from error
        self.schedule = schedule
        try:
            self.optim_wrapper = build_optim_wrapper(self.model, dict(optim_wrapper))
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f'optim_wrapper: cannot build it: {error}') from error
        except AssertionError as error:
            # mmengine's AmpOptimWrapper refuses a CPU, and rightly: there, the weight gradients of 3D convolutions in
            # bfloat16 read memory nobody wrote (torch 2.13, 48 to 48 channels, 3x3x3, at 2x7x7).
            raise ConfigError(f'optim_wrapper.type: mixed precision needs a GPU ({error}); on a CPU take '
                              f"'OptimWrapper'") from error
        _leave_out_frozen(self.optim_wrapper.optimizer)
        self._initial_scale = self.loss_scale
        self._base_lrs = [group['lr'] for group in self.optim_wrapper.optimizer.param_groups]

    @property
    def loss_scale(self) -> dict[str, Any]:
        """State of the loss scaler, plain numbers; empty where the optimiser wrapper has none (mixed precision has)."""
        scaler = getattr(self.optim_wrapper, 'loss_scaler', None)
        return scaler.state_dict() if scaler else {}

    @loss_scale.setter
    def loss_scale(self, state: Mapping[str, Any]) -> None:
        if state:
            self.optim_wrapper.loss_scaler.load_state_dict(dict(state))

    def rearm(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Forgets the last client (optimiser state, gradients, loss scale, counters, logged scalars), loads weights.

        Args:
            tensors: Named tensors to overwrite the model's with; names and shapes must fit.
        """
        self.optim_wrapper.optimizer.state.clear()
        self.loss_scale = self._initial_scale
        self._begin(-1)
        if tensors is not None:
            self.model.load_state_dict(dict(tensors), strict=False)

    def begin_epoch(self, steps: int) -> None:
        """Makes the next `steps` steps a unit of their own, so that a run can be continued from where they begin.

        Where gradients are accumulated over several steps, the last of these steps applies what there is. Model,
        optimiser state and loss scale stay.
        """
        self._begin(steps)

    def _begin(self, steps: int) -> None:
        """Forgets gradients, counters and logged scalars; `steps` (-1: unknown) is when gradients must be applied."""
        self.optim_wrapper.optimizer.zero_grad(set_to_none=True)
        self.optim_wrapper.initialize_count_status(self.model, 0, steps)
        # OptimWrapper logs gradient norms into a hub that lives as long as the process, and would grow without end.
        MessageHub.get_current_instance().log_scalars.clear()

    def fit(self, batches: Iterable[Batch], span: Span, hook: Hook | None = None, number: int = 1) -> dict[str, float]:
        """Trains on all batches.

        Args:
            batches: What `ClipLoader` yields; `span.steps` of them.
            span: Which part of the run this is; sets the learning rate.
            hook: Told after each step, with the means so far.
            number: Number of the round, passed on to the hook.

        Returns:
            Means over the steps of ``loss`` and of the further scalars the model logs.
        """
        self.model.train()
        means = Means()
        for step, batch in enumerate(batches):
            progress = span.begin + (span.end - span.begin) * step / span.steps
            self._set_lr(progress)
            self.model.before_step(progress)
            scalars = self.model.train_step(batch, self.optim_wrapper)
            self.model.after_step(progress)
            means.add(scalars)
            if hook:
                hook.after_step(number, dict(step=step + 1, **means.result()))
        return means.result()

    def _set_lr(self, progress: float) -> None:
        factor = self.schedule(progress)
        for group, lr in zip(self.optim_wrapper.optimizer.param_groups, self._base_lrs, strict=True):
            group['lr'] = lr if group.get('fix_lr') else lr * factor

    @contextmanager
    def evaluating(self) -> Iterator[BackboneModel]:
        """Gives the model in evaluation mode, without gradients."""
        self.model.eval()
        with torch.inference_mode():
            yield self.model

    def predict(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
        """Returns predictions (n, ...) and targets (n, ...) of all batches, on the CPU; no batches, no predictions."""
        predictions, targets = [], []
        with self.evaluating() as model:
            for batch in batches:
                data = model.data_preprocessor(batch)
                predictions.append(model(data['inputs'], data['data_samples'], mode='predict').cpu())
                targets.append(data['data_samples']['target'].cpu())
        if not predictions:  # no video was readable: that is for the caller to report
            return torch.empty(0), torch.empty(0, dtype=torch.int64)
        return torch.cat(predictions), torch.cat(targets)


def _leave_out_frozen(optimizer: Optimizer) -> None:
    """Takes parameters without gradients away from an optimiser, which mmengine gives it all unless told how to treat
    some: whether weight decay or momentum reaches those is not to depend on the optimiser.
    """
    for group in optimizer.param_groups:
        group['params'] = [parameter for parameter in group['params'] if parameter.requires_grad]


def build_trainer(config: RunConfig) -> Trainer:
    """Builds model, optimiser and schedule of a config, and fixes the number of threads that compute."""
    import cv2

    torch.set_num_threads(config.runtime.threads)
    cv2.setNumThreads(1)
    return Trainer(build_model(config.model, config.seed), config.optim_wrapper,
                   build(SCHEDULES, config.schedule, 'schedule'), config.runtime.device)
