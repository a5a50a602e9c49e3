"""The linear probe as a model: the head's formula, and that not one bit of a frozen backbone changes."""

import pytest
import torch

from fedvssl.models import build_model
from fedvssl.training.schedules import ConstantSchedule
from fedvssl.training.trainer import Span, Trainer

SGD = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1),
           clip_grad=dict(max_norm=40))


def probe(backbone='R3D18', num_classes=3, **arguments):
    return build_model(dict(type='LinearProbe', backbone=dict(type=backbone, base_channels=4),
                            head=dict(type='LinearProbeHead', num_classes=num_classes),
                            data_preprocessor=dict(type='ClipPreprocessor'), **arguments), 7)


def batch(size=4, clips=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (size, clips, 4, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return dict(inputs=inputs, data_samples=dict(target=torch.arange(size) % 3))


def train(model, wrapper=SGD, steps=3):
    """Returns the state before and after some steps, and the trainer."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = Trainer(model, wrapper, ConstantSchedule())
    trainer.fit([batch(seed=step) for step in range(steps)], Span(0, 1, steps))
    return before, model.state_dict(), trainer


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


OPTIMIZERS = {
    'sgd': SGD,
    'adamw': dict(SGD, optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1)),
    'paramwise': dict(SGD, paramwise_cfg=dict(norm_decay_mult=0.0)),
}


@pytest.mark.parametrize('backbone', ['R3D18', 'R2Plus1D18'])
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_only_the_head_changes(backbone, optimizer):
    model = probe(backbone)
    before, after, trainer = train(model, OPTIMIZERS[optimizer])
    trainer.predict([batch()])
    assert changed(before, model.state_dict()) == {f'head.{name}' for name in (
        'norm.weight', 'norm.bias', 'norm.running_mean', 'norm.running_var', 'norm.num_batches_tracked',
        'fc.weight', 'fc.bias')}
    given = [parameter for group in trainer.optim_wrapper.optimizer.param_groups for parameter in group['params']]
    assert {id(parameter) for parameter in given} == {id(parameter) for parameter in model.head.parameters()}
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_the_published_defect_on_request():
    """Batch norms in training mode: weights stay, the running statistics drift."""
    model = probe(train_norms=True)
    before, after, _ = train(model)
    drifted = {name for name in changed(before, after) if name.startswith('backbone.')}
    statistics = {name for name in before if name.startswith('backbone.')
                  and name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))}
    assert drifted == statistics and len(statistics) == 60
    model.eval()
    assert not any(module.training for module in model.backbone.modules())


def test_features_in_training_depend_on_no_other_clip():
    for norms in (False, True):
        model = probe(train_norms=norms).train()
        assert model.head.training and model.head.norm.training
        inputs = model.data_preprocessor(batch())['inputs']
        with torch.no_grad():
            together, alone = model(inputs)[:2], model(inputs[:2])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5) != norms


def test_the_head_is_its_formula():
    """Against an independent spelling, with batch statistics in training and running ones in evaluation."""
    head = probe().head
    maps = torch.rand(5, 32, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    unit = maps.double().flatten(2).sum(2) / 18
    unit = unit / (unit * unit).sum(1, keepdim=True).sqrt()
    mean, variance = unit.mean(0), ((unit - unit.mean(0)) ** 2).mean(0)
    weight, bias = head.fc.weight.double(), head.fc.bias.double()
    expected = (unit - mean) / (variance + 1e-5).sqrt() @ weight.T + bias
    torch.testing.assert_close(head.train()(maps).double(), expected, rtol=1e-4, atol=1e-6)
    running = 0.1 * mean, 0.9 + 0.1 * variance * 5 / 4  # torch keeps the unbiased variance
    expected = (unit - running[0]) / (running[1] + 1e-5).sqrt() @ weight.T + bias
    torch.testing.assert_close(head.eval()(maps).double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head(1000 * maps), head(maps))  # only the direction of the features counts


def test_initial_weights_are_published():
    model = probe(num_classes=101)
    assert model.head.fc.weight.std().item() == pytest.approx(1e-3, rel=0.05) and model.head.fc.bias.eq(0).all()
    assert model.head.norm.weight.eq(1).all() and model.head.norm.bias.eq(0).all() and model.head.norm.eps == 1e-5


def test_logits_are_averaged_over_clips():
    model = probe().eval()
    data = model.data_preprocessor(batch(2, clips=4))
    with torch.inference_mode():
        together = model(**data, mode='predict')
        apart = torch.stack([model(data['inputs'][:, [clip]], mode='predict') for clip in range(4)])
    torch.testing.assert_close(together, apart.mean(dim=0), rtol=1e-4, atol=1e-6)
