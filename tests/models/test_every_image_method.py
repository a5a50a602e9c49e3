"""What must hold for every image method: it learns, gradients go where they should, and what stays at home is named."""

import math

import pytest
import torch
from torch import nn

import fedvssl.models.augments.image.crop  # noqa: F401
import fedvssl.models.backbones.conv4  # noqa: F401
from fedvssl.errors import ConfigError
from fedvssl.models import build_model
from fedvssl.models.image import ImageModel
from fedvssl.models.image.slow_copy import SlowCopy
from fedvssl.registry import MODELS
from fedvssl.training.schedules import ConstantSchedule
from fedvssl.training.trainer import Span, Trainer

CROP = dict(type='ResizedCrop', size=16, scale=(0.5, 1.0))
SMALL = dict(type='ResizedCrop', size=12, scale=(0.3, 0.7))
PAIR = [[CROP], [CROP]]
NECK = dict(type='MLP', hidden_channels=32, out_channels=16)
PREDICTOR = dict(type='MLP', hidden_channels=16)

METHODS = {
    'SimCLR': dict(neck=NECK), 'SimCLRv2': dict(neck=dict(NECK, num_layers=3)), 'SupCon': dict(neck=NECK),
    'SimSiam': dict(neck=dict(NECK, last_norm='plain'), predictor=PREDICTOR),
    'BYOL': dict(neck=NECK, predictor=PREDICTOR, ema_decay=0.99), 'BarlowTwins': dict(neck=NECK),
    'SwAV': dict(neck=NECK, num_prototypes=12, queue_size=20, freeze=0.1),
    'DINO': dict(neck=dict(NECK, norm=False, num_layers=3, activation='gelu'), num_prototypes=24, freeze=0.1,
                 ema_decay=0.99),
    'MoCoV1': dict(neck=dict(type='MLP', out_channels=16, num_layers=1), queue_size=20, ema_decay=0.99),
    'MoCoV2': dict(neck=dict(NECK, norm=False), queue_size=20, ema_decay=0.99),
    'MoCoV3': dict(neck=NECK, predictor=PREDICTOR, ema_decay=0.99, temperature=0.2),
}
MULTI_CROP = ('SwAV', 'DINO')
BEGINNERS = ('DINO', 'MoCoV1', 'MoCoV2')  # whose loss rises at first, while the centre settles or the queue fills
COPIES = {'BYOL': 'target', 'MoCoV3': 'target', 'MoCoV1': 'keys', 'MoCoV2': 'keys', 'DINO': 'teacher'}


def config(name, **changes):
    views = PAIR + [[SMALL]] * 2 if name in MULTI_CROP else PAIR
    return dict(type=name, backbone=dict(type='Conv4', width=4),
                data_preprocessor=dict(type='ImagePreprocessor', views=views), **{**METHODS[name], **changes})


def toy(count=12, seed=0):
    """Smooth random images: easy to tell apart, whatever the crop."""
    coarse = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    images = nn.functional.interpolate(coarse, size=16, mode='bilinear', align_corners=False)
    return (images * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def batch(step=0, count=12):
    labels = torch.arange(count) % 3
    return dict(inputs=toy(count, step % 4), data_samples=dict(target=labels, seed=torch.tensor(step)))


def trainer_of(name, lr=0.05, **changes):
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr, momentum=0.9))
    return Trainer(build_model(config(name, **changes), 7), cfg, ConstantSchedule())


def test_there_is_a_row_for_every_method():
    registered = {name for name, module in MODELS.module_dict.items() if issubclass(module, ImageModel)}
    assert registered == set(METHODS)


@pytest.mark.parametrize('name', METHODS)
def test_the_loss_falls(name):
    """Means of ten steps each, twenty apart."""
    trainer, start = trainer_of(name), 20 if name in BEGINNERS else 0
    losses = [trainer.fit([batch(step) for step in range(begin, begin + 10)], Span(0.2, 0.3, 10))['loss']
              for begin in range(0, start + 30, 10)]
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[start // 10]


@pytest.mark.parametrize('name', METHODS)
def test_gradients_reach_the_first_convolution_and_no_copy(name):
    model = build_model(config(name), 7).train()
    model.before_step(0.5)
    data = model.data_preprocessor(batch(), training=True)
    model(**data, mode='loss')['loss'].backward()
    first = next(module for module in model.backbone.modules() if isinstance(module, nn.Conv2d))
    assert first.weight.grad.abs().sum() > 0
    for part in ('neck', 'predictor', 'prototypes'):
        if hasattr(model, part):
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(model, part).parameters())
    for copy in (module for module in model.modules() if isinstance(module, SlowCopy)):
        assert all(p.grad is None and not p.requires_grad for p in copy.parameters())


@pytest.mark.parametrize('name', METHODS)
def test_every_tensor_is_there_once_and_what_stays_is_named(name):
    model = build_model(config(name), 7)
    state = model.state_dict()
    places = [tensor.untyped_storage().data_ptr() for tensor in state.values() if tensor.numel()]
    assert len(set(places)) == len(places)
    parts = {key.split('.')[0] for key in state}
    assert model.client_local <= parts and 'backbone' in parts
    assert ('target' in parts or 'keys' in parts or 'teacher' in parts) == (name in COPIES)


@pytest.mark.parametrize('name', METHODS)
def test_evaluation_changes_nothing(name):
    trainer = trainer_of(name)
    trainer.fit([batch()], Span(0.0, 0.1, 1))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    predictions, targets = trainer.predict([batch(5)])
    with trainer.evaluating() as model:
        model(**model.data_preprocessor(batch(6)), mode='loss')
    assert predictions.shape == (12, 2, trainer.model.neck.out_channels)
    assert 0 <= trainer.model.score(predictions, targets)['accuracy'] <= 1
    assert all(torch.equal(before[key], value) for key, value in trainer.model.state_dict().items())


@pytest.mark.parametrize(('name', 'copy'), COPIES.items())
def test_a_copy_follows_by_the_progress_of_the_run(name, copy):
    """Cutting a run into rounds changes no bit: only progress counts."""
    whole, cut = trainer_of(name), trainer_of(name)
    whole.fit([batch(step) for step in range(6)], Span(0.0, 1.0, 6))
    for part in range(3):
        cut.fit([batch(step) for step in range(2 * part, 2 * part + 2)], Span(part / 3, (part + 1) / 3, 2))
    slow = getattr(whole.model, copy)
    assert int(slow.steps) == 6
    pairs = zip(whole.model.state_dict().values(), cut.model.state_dict().values(), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in pairs)
    fast = whole.model.backbone.state_dict()
    assert any(not torch.equal(value, fast[key]) for key, value in slow['backbone'].state_dict().items())


def test_the_schedule_of_a_copy():
    copy = SlowCopy(dict(backbone=nn.Linear(2, 2)), 0.996, 1.0)
    assert [copy.decay(p) for p in (0, 0.5, 1)] == pytest.approx([0.996, 0.998, 1.0], abs=1e-12)


def test_a_copy_moves_by_hand():
    model = nn.Module()
    model.backbone = nn.Linear(1, 1, bias=False)
    model.backbone.weight.data.fill_(1.0)
    copy = SlowCopy(dict(backbone=model.backbone), 0.9, 0.9)
    model.backbone.weight.data.fill_(2.0)
    copy.begin(model)  # before the first step it takes what there is
    assert float(copy['backbone'].weight) == 2.0
    copy.follow(model, 0.0)
    model.backbone.weight.data.fill_(3.0)
    copy.begin(model)  # not any more
    copy.follow(model, 0.0)
    assert float(copy['backbone'].weight) == pytest.approx(0.9 * 2 + 0.1 * 3) and int(copy.steps) == 2


@pytest.mark.parametrize('name', MULTI_CROP)
def test_a_frozen_layer_stays(name):
    trainer = trainer_of(name, freeze=0.5)
    before = trainer.model.prototypes.weight.detach().clone()
    trainer.fit([batch(step) for step in range(2)], Span(0.0, 0.5, 2))
    assert torch.equal(trainer.model.prototypes.weight, before)
    trainer.fit([batch(step) for step in range(2)], Span(0.5, 1.0, 2))
    assert not torch.equal(trainer.model.prototypes.weight, before)


def test_the_queue_of_swav_counts_once_it_is_full_and_due():
    """The same batch has other codes once the queue is assigned along with it."""
    model = build_model(config('SwAV', queue_size=12, queue_from=0.5), 7).eval()
    data = model.data_preprocessor(batch(3), training=True)

    def loss(progress):
        model.before_step(progress)
        return model(**data, mode='loss')['loss'].item()

    rows = torch.randn(12, 2, 16, generator=torch.Generator().manual_seed(1))
    model.queue.copy_(nn.functional.normalize(rows, dim=2))
    empty = loss(0.9)
    model.queue_pointer.fill_(12)
    assert loss(0.2) == empty != loss(0.9)


def test_the_temperature_of_the_teacher_rises():
    model = build_model(config('DINO', warmup=0.4), 7)
    found = []
    for progress in (0.0, 0.2, 0.4, 1.0):
        model.before_step(progress)
        found.append(model.teacher_temperature)
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_the_second_version_of_simclr_is_fine_tuned_from_the_first_layer():
    model = build_model(config('SimCLRv2'), 7).eval()
    x = torch.rand(2, 3, 16, 16)
    linear, norm, _ = model.neck.first_layer
    assert torch.equal(model.representation(x), torch.relu(norm(linear(model.pooled(x)))))


@pytest.mark.parametrize(('name', 'changes', 'message'), [
    ('SimCLR', dict(temperature=0), 'model.temperature: must be a positive number, not 0'),
    ('BYOL', dict(ema_decay=1.5), 'model.ema_decay: what a slow copy keeps of itself at a step is in 0..1, not 1.5'),
    ('MoCoV2', dict(queue_size=0), 'model.queue_size: must be an integer of at least 1, not 0'),
    ('SwAV', dict(num_prototypes=1), 'SwAV needs num_prototypes >= 2'),
    ('SimSiam', dict(neck=dict(type='MLP', last_norm='batch')), "MLP: needs .* last_norm of .*'batch'"),
])
def test_bad_arguments(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(config(name, **changes), 7)


@pytest.mark.parametrize('name', METHODS)
def test_one_image_or_one_view_is_refused(name):
    model = build_model(config(name), 7).train()
    with pytest.raises(ConfigError, match=f'data.batch_size: {name} cannot learn from a batch of one image'):
        model(**model.data_preprocessor(batch(count=1), training=True), mode='loss')
    model = build_model(config(name) | dict(data_preprocessor=dict(type='ImagePreprocessor')), 7)
    with pytest.raises(ConfigError, match=f'views: {name} needs 2 views of an image, not 1'):
        model(**model.data_preprocessor(batch()), mode='loss')
