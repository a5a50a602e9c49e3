"""What several test files need: a tiny generated video set and a config that trains on it in a second."""

from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import settings

from fedvssl.config import RunConfig, from_dict
from fedvssl.data.clips import ClipReader
from fedvssl.data.synthetic import generate
from fedvssl.video.errors import DecoderLostError

settings.register_profile('deterministic', derandomize=True, deadline=None)
settings.load_profile('deterministic')


@pytest.fixture(scope='session')
def tiny_videos(tmp_path_factory) -> Path:
    """Root of a generated set of 16 training and 8 test videos."""
    # Whoever starts the fork server first decides what it has imported; the clients' processes want torch and Flower.
    get_context('forkserver').set_forkserver_preload(['fedvssl.federated.client'])
    root = tmp_path_factory.mktemp('tiny')
    generate(root, num_train=16, num_test=8, seed=3, workers=1)
    return root


def tiny_values(root: Path, **federation) -> dict:
    """Returns config values of a federated VCOP run that is as small as they come."""
    phase = dict(sampler=dict(type='VCOPSampler', clip_length=4, gap=2))
    crop = [dict(type='Resize', size=(24, 18)), dict(type='RandomCrop', size=16)]
    return dict(
        model=dict(type='VCOP', backbone=dict(type='R3D18', base_channels=4),
                   head=dict(type='VCOPHead', hidden_channels=8), data_preprocessor=dict(type='ClipPreprocessor')),
        data=dict(root=str(root), train=dict(split='train', transforms=crop, **phase),
                  test=dict(split='test', transforms=crop, **phase),
                  partition=dict(type='IIDPartitioner', num_clients=4), batch_size=2, workers=0),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
                           clip_grad=dict(max_norm=40)),
        schedule=dict(type='ConstantSchedule'),
        federation=dict(rounds=3, clients_per_round=2, workers=0,
                        strategy=dict(type='FedVSSL', alpha=0.9, beta=1.0)) | federation,
    )


def tiny_finetuning_values(root: Path, num_classes: int = 8, **training) -> dict:
    """Returns config values of fine-tuning the same backbone; keyword arguments override the section ``training``."""
    values = tiny_values(root)
    crop = values['data']['test']['transforms']
    train = dict(split='train', sampler=dict(type='RandomClipSampler', clip_length=4), transforms=crop)
    test = dict(split='test', sampler=dict(type='MidTickSampler', clip_length=4, num_clips=2), transforms=crop)
    head = dict(type='mmaction.I3DHead', num_classes=num_classes)
    return dict(model=dict(values['model'], type='Recognizer', head=head),
                data=dict(root=str(root), train=train, test=test, batch_size=4, workers=0),
                optim_wrapper=values['optim_wrapper'], schedule=values['schedule'],
                training=dict(epochs=2, evaluate_every=1) | training)


def image_values(model: dict | None = None, **data) -> dict:
    """Returns config values of federated SimCLR on few generated images; keyword arguments override ``data``."""
    simclr = dict(type='SimCLR', backbone=dict(type='Conv4', width=4),
                  neck=dict(type='MLP', hidden_channels=16, out_channels=8),
                  data_preprocessor=dict(type='ImagePreprocessor', views='simclr', size=16))
    return dict(
        model=model or simclr,
        data=dict(root='.', images=dict(type='GeneratedImages', train_images=32, test_images=16),
                  train=dict(split='train'), test=dict(split='test'),
                  partition=dict(type='IIDPartitioner', num_clients=2), batch_size=8) | data,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        schedule=dict(type='CosineSchedule'),
        federation=dict(rounds=2, clients_per_round=2, workers=0, strategy=dict(type='FedAvg')),
        training=dict(epochs=2),
    )


@pytest.fixture
def losing(monkeypatch):
    """Makes a process that reads a given video late, from now on."""
    original = ClipReader.read

    def lose(video: str) -> None:
        def read(self, path: str, stream: int):
            if path == video:
                raise DecoderLostError(path, 'pyav', 'no answer within 60 s')
            return original(self, path, stream)

        monkeypatch.setattr(ClipReader, 'read', read)

    return lose


@pytest.fixture
def tiny_config(tiny_videos):
    """Builds that config; keyword arguments override its section ``federation``."""

    def build(**federation) -> RunConfig:
        return from_dict(tiny_values(tiny_videos, **federation))

    return build
