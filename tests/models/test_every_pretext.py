"""Every pretext task on every backbone: a few steps on seeded fake data, then a prediction and its score.

A new task needs one row in `TASKS`.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch

from fedvssl import rng
from fedvssl.models import VideoModel, build_model
from fedvssl.registry import MODELS
from fedvssl.training.schedules import ConstantSchedule
from fedvssl.training.trainer import Span, Trainer

BACKBONES = ('R3D18', 'R2Plus1D18')
SIZE, FRAMES, SIDE, STEPS = 4, 8, 32, 3
SHARES = ('accuracy', 'iou')


@dataclass(frozen=True)
class Task:
    """How to try a pretext task."""

    head: dict
    clips: int = 1
    classes: int = 1  # among which the sampler chooses the target; 1 where the model makes its own
    augments: list = field(default_factory=list)
    backbone: dict = field(default_factory=dict)
    more: dict = field(default_factory=dict)


def classifier(classes):
    return dict(type='mmaction.I3DHead', num_classes=classes, dropout_ratio=0.5, init_std=0.001)


TASKS = {
    'CtP': Task(dict(type='CtPHead', clip_length=FRAMES), augments=[dict(type='PastePatches')],
                backbone=dict(spatial_strides=(1, 2, 2, 1))),
    'MoCo': Task(dict(type='MoCoHead', out_channels=8), clips=2, more=dict(queue_size=10)),
    'Rot3D': Task(classifier(4), augments=[dict(type='Rotate90')]),
    'Speed': Task(classifier(7), classes=7),
    'VCOP': Task(dict(type='VCOPHead', hidden_channels=16), clips=3, classes=6),
}
EVERY = pytest.mark.parametrize(('task', 'backbone'), [(task, backbone) for task in TASKS for backbone in BACKBONES])


def test_the_table_is_complete():
    registered = {name for name, module in MODELS.module_dict.items()
                  if module.__module__.startswith('fedvssl.models.pretext.') and issubclass(module, VideoModel)}
    assert registered == set(TASKS)


def build(task, backbone, seed=7):
    tried = TASKS[task]
    config = dict(type=task, head=tried.head, backbone=dict(type=backbone, base_channels=4, **tried.backbone),
                  data_preprocessor=dict(type='ClipPreprocessor', augments=tried.augments), **tried.more)
    return build_model(config, seed)


def batches(task):
    tried, random = TASKS[task], np.random.default_rng(3)
    for _ in range(STEPS):
        inputs = random.integers(256, size=(SIZE, tried.clips, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
        samples = dict(target=random.integers(tried.classes, size=SIZE), seed=random.integers(2 ** 62, size=SIZE))
        yield dict(inputs=torch.from_numpy(inputs),
                   data_samples={name: torch.from_numpy(values) for name, values in samples.items()})


def trained(task, backbone):
    """Returns a trainer after a few steps, and the means over them."""
    optimiser = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
                     clip_grad=dict(max_norm=40))
    trainer = Trainer(build(task, backbone), optimiser, ConstantSchedule())
    rng.seed_torch(7, 'dropout')
    return trainer, trainer.fit(batches(task), Span(0, 1, STEPS))


@cache
def reference(task, backbone):
    return trained(task, backbone)


@EVERY
def test_it_trains_predicts_and_scores(task, backbone):
    trainer, means = reference(task, backbone)
    assert math.isfinite(means['loss']) and means['loss'] > 0
    start, state = build(task, backbone).state_dict(), trainer.model.state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert not [name for name, tensor in state.items() if name.startswith('backbone.') and tensor.equal(start[name])]
    predictions, targets = trainer.predict(batches(task))
    assert len(predictions) == len(targets) == SIZE * STEPS and predictions.isfinite().all()
    score = trainer.model.score(predictions, targets)
    assert all(isinstance(value, float) and math.isfinite(value) for value in score.values())
    assert score.keys() & set(SHARES) and all(0 <= score[name] <= 1 for name in SHARES if name in score)


@EVERY
def test_every_parameter_of_the_backbone_gets_a_gradient(task, backbone):
    model = build(task, backbone)
    model(**model.data_preprocessor(next(batches(task))), mode='loss')['loss'].backward()
    assert not [name for name, p in model.backbone.named_parameters()
                if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]


@EVERY
def test_what_is_optimised_is_the_loss_that_is_logged(task, backbone):
    """mmengine adds up all values with "loss" in their names."""
    model = build(task, backbone)
    losses = model(**model.data_preprocessor(next(batches(task))), mode='loss')
    optimised, logged = model.parse_losses(losses)
    assert optimised is losses['loss'] and logged == losses


@EVERY
def test_the_same_seed_gives_the_same_bits(task, backbone):
    (first, means), (same, again) = reference(task, backbone), trained(task, backbone)
    assert means == again
    assert all(tensor.equal(same.model.state_dict()[name]) for name, tensor in first.model.state_dict().items())
