"""The protocol of an evaluation that trains: every number of it, and whether they are the published ones.

Published (fine-tuning of CtP and FedVSSL): one clip of 16 frames at stride 2 a video, scale jitter, flip 0.35, colour,
crop 112; dropout 0.5, classifier from N(0, 0.001); SGD with momentum 0.9, lr 0.01 divided by 10 at epochs 60 and 120 of
150, weight decay 5e-4, gradients clipped at 40, batches of 32; all labels. Test: 10 clips at mid-ticks, centre crop,
logits averaged over the clips. FedVSSL's paper reports the best of a grid that includes this one, on split 1.

The linear probe of FedVSSL's code is the same but for 100 epochs with steps at 60 and 80, weight decay 1e-3, and a
frozen backbone under features of length 1, batch norm and a classifier without dropout.
"""

from collections.abc import Mapping
from typing import Any

from fedvssl.config import RunConfig, identity

# What does not decide whether a protocol is the published one: which data it was applied to.
_DATA = ('name', 'split', 'classes', 'backbone')

_BACKBONES = ('R3D18', 'R2Plus1D18')
WIDTH = dict(base_channels=64, spatial_strides=[1, 2, 2, 2], temporal_strides=[1, 2, 2, 2], norm_eps=1e-3)

FINETUNE: Mapping[str, Any] = dict(
    epochs=150, evaluate_every=10, batch_size=32, label_fraction=1.0,
    optim_wrapper=dict(type='OptimWrapper', clip_grad=dict(max_norm=40),
                       optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)),
    schedule=dict(type='StepSchedule', milestones=[60 / 150, 120 / 150], gamma=0.1),
    model=dict(type='Recognizer', head=dict(type='mmaction.I3DHead', dropout_ratio=0.5, init_std=0.001),
               data_preprocessor=dict(type='ClipPreprocessor')),
    train=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=2),
        transforms=[dict(type='RandomResize', sizes=[[149, 112], [171, 128], [192, 144]]), dict(type='Flip', p=0.35),
                    dict(type='Brightness', p=0.2, delta=32), dict(type='Contrast', p=0.2, delta=0.2),
                    dict(type='HueSaturation', p=0.2, hue=12, saturation=0.1), dict(type='RandomCrop', size=112)],
        independent_clips=False),
    test=dict(
        sampler=dict(type='MidTickSampler', clip_length=16, stride=2, num_clips=10),
        transforms=[dict(type='Resize', size=[171, 128]), dict(type='CenterCrop', size=112)],
        independent_clips=False),
    averaged='logits', reported='last epoch')

# The published code also left the backbone's batch norms in training mode (``train_norms=True``): a defect.
LINEAR: Mapping[str, Any] = dict(
    FINETUNE, epochs=100,
    optim_wrapper=dict(type='OptimWrapper', clip_grad=dict(max_norm=40),
                       optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-3)),
    schedule=dict(type='StepSchedule', milestones=[60 / 100, 80 / 100], gamma=0.1),
    model=dict(type='LinearProbe', head=dict(type='LinearProbeHead', init_std=0.001),
               data_preprocessor=dict(type='ClipPreprocessor'), train_norms=False))

PUBLISHED = {'finetune': FINETUNE, 'linear': LINEAR}
"""By task."""


def training_protocol(config: RunConfig, task: str) -> dict[str, Any]:
    """Returns the protocol of an evaluation that trains, as JSON values.

    Args:
        config: The run, as `RunConfig.centralised` gives it.
        task: ``task`` of its model, e.g. ``'finetune'``.

    Returns:
        All of what `FINETUNE` has, with ``split`` (column and values), ``classes``, ``backbone`` and ``name``:
        ``'fedvssl-<task>'`` if the numbers are the published ones, else the task.
    """
    values = identity(config)
    data, training = values['data'], values['training']
    phases = {name: {key: value for key, value in data[name].items() if key != 'split'} for name in ('train', 'test')}
    model = {key: value for key, value in values['model'].items() if key != 'backbone'}
    head = dict(model['head'])
    classes = head.pop('num_classes')
    protocol = dict(
        epochs=training['epochs'], evaluate_every=training['evaluate_every'], batch_size=data['batch_size'],
        label_fraction=training.get('label_fraction', 1.0), optim_wrapper=values['optim_wrapper'],
        schedule=values['schedule'], model=dict(model, head=head), **phases, averaged='logits', reported='last epoch',
        split=dict(column=data['split_column'], train=data['train']['split'], test=data['test']['split']),
        classes=classes, backbone=values['model']['backbone'])
    return dict(protocol, name=f'fedvssl-{task}' if is_published(protocol, task) else task)


def is_published(protocol: Mapping[str, Any], task: str) -> bool:
    """Returns whether a protocol is the published one of its task, whatever the data."""
    numbers = {key: value for key, value in protocol.items() if key not in _DATA}
    split = protocol['split']
    return (numbers == PUBLISHED.get(task) and is_published_backbone(protocol['backbone'])
            and split['train'] != split['test'])


def is_published_backbone(backbone: Mapping[str, Any]) -> bool:
    """Returns whether a config of a backbone is of the published networks: their width, strides and batch norms."""
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in backbone.items()}
    return given.pop('type') in _BACKBONES and WIDTH | given == WIDTH
