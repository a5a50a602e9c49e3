"""The image methods on their own: model(images) is the loss, and schedules run by themselves."""

import pytest
import torch
from torch import nn

from fedvssl.errors import ConfigError
from fedvssl.models.image import METHODS, build
from fedvssl.models.image.standalone import _BACKBONES

SMALL = dict(neck=dict(hidden_channels=32, out_channels=16))
OPTIONS = dict(swav=dict(num_prototypes=8), dino=dict(num_prototypes=8), mocov1=dict(queue_size=16),
               mocov2=dict(queue_size=16))


def small(name, **options):
    return build(name, dict(type='Conv4', width=4), 10, 16, neck=dict(hidden_channels=32, out_channels=16),
                 **OPTIONS.get(name, {}), **options)


def images(count=8, seed=0):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('name', METHODS)
def test_a_training_loop(name):
    model = small(name)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    labels = torch.arange(8) % 2 if name == 'supcon' else None
    before = model.backbone(images()).detach()
    for step in range(3):
        loss = model(images(seed=step), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.ndim == 0 and loss.isfinite()
    assert not torch.equal(model.backbone(images()), before)
    assert model.encoder(images()).shape == (8, 16) and before.shape == (8, 16)


def test_the_target_follows_after_the_optimisers_step():
    model = small('byol', ema_decay=0.5, final_ema_decay=0.5)
    online, target = (part['backbone'] if part is model.model.target else part.backbone
                      for part in (model.model, model.model.target))
    weight, slow = (next(part.parameters()) for part in (online, target))
    model(images())
    with torch.no_grad():
        weight.add_(1.0)  # an optimiser's step
    begun = slow.clone()
    model(images())
    assert torch.allclose(slow, begun + 0.5)
    assert model.step == 2


def test_the_same_seed_draws_the_same():
    assert torch.equal(small('simclr', seed=3)(images()), small('simclr', seed=3)(images()))
    assert not torch.equal(small('simclr', seed=3)(images()), small('simclr', seed=4)(images()))


def test_what_is_given_is_normalised_in_training_and_afterwards():
    model = small('simclr').eval()
    mean = model.model.data_preprocessor.mean.expand(2, 3, 16, 16)
    assert torch.equal(model.backbone(mean), model.model.pooled(torch.zeros(2, 3, 16, 16)))


def test_a_backbone_of_ones_own():
    class Net(nn.Module):
        feat_dim = 6

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)

        def forward(self, x):
            return self.conv(x)

    model = build('simsiam', Net(), 5, 16, neck=dict(hidden_channels=8, out_channels=8),
                  predictor=dict(hidden_channels=4))
    assert model(images()).isfinite() and model.backbone(images()).shape == (8, 6)


@pytest.mark.parametrize(('name', 'channels'), [('resnet18', 512), ('vgg11', 512), ('vgg11_bn', 512),
                                                 ('densenet121', 1024), ('efficientnet_b0', 1280), ('alexnet', None),
                                                 ('conv4', 128)])
def test_backbones_by_name(name, channels):
    model = build('mocov1', name, 5, queue_size=4)
    assert channels in (None, model.model.backbone.feat_dim)
    assert len(_BACKBONES) == 7


@pytest.mark.parametrize(('arguments', 'message'), [
    (('simclear', 'conv4', 5), "no method is called 'simclear'; did you mean 'simclr'"),
    (('simclr', 'resnet19', 5), "no backbone is called 'resnet19'; did you mean 'resnet18'"),
    (('simclr', 'conv4', 0), 'steps is the number of steps of the whole training, at least 1, not 0'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(*arguments)


def test_labels_that_are_missing():
    with pytest.raises(ConfigError, match='labels: SupCon learns from them'):
        small('supcon')(images())
