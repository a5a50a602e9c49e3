"""LARS and LARC, against the formulas written out in plain Python, number by number."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.nn import functional as F

from fedvssl.config import check_types
from fedvssl.errors import ConfigError
from fedvssl.training.optimizer_state import load_optimizer_tensors, optimizer_tensors
from fedvssl.training.optimizers import LARC, LARS
from tests.conftest import tiny_values

STEPS = 20


def net(dtype=torch.float64):
    """Three layers, one of them normalised; the weight of the last begins at 0, as do all biases and the norm's."""
    generator = torch.Generator().manual_seed(5)
    layers = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.Linear(5, 3)).to(dtype)
    for name, param in layers.named_parameters():
        with torch.no_grad():
            starts_at_0 = name.endswith('bias') or name == '3.weight'
            param.copy_(torch.zeros(()) if starts_at_0 else torch.randn(param.shape, dtype=dtype, generator=generator))
    return layers


def targets(step):
    generator = torch.Generator().manual_seed(step)
    return (torch.randn(7, size, dtype=torch.float64, generator=generator) for size in (4, 3))


def loss_of(model, step):
    x, y = targets(step)
    return F.mse_loss(torch.tanh(model(x)), y)


def norm(values):
    return math.sqrt(sum(value * value for value in values))


def lars_gradient(w, g, flat, lr, weight_decay=0.0, trust_coefficient=1e-3, eps=1e-8, clip_lr=False, exclude_1d=True,
                  norm_of='sum', **_):
    if flat and exclude_1d:
        return g
    moved = [b + weight_decay * a for a, b in zip(w, g, strict=True)]
    below = norm(moved) if norm_of == 'sum' else norm(g) + weight_decay * norm(w)
    trust = 1.0
    if norm(w) > 0 and below > 0:
        trust = trust_coefficient * norm(w) / (below + eps)
        trust = min(trust / lr, 1.0) if clip_lr else trust
    return [trust * value for value in moved]


def larc_gradient(w, g, flat, lr, weight_decay=0.0, trust_coefficient=0.02, eps=1e-8, clip=True, **_):
    if norm(w) == 0 or norm(g) == 0:
        return g
    rate = trust_coefficient * norm(w) / (norm(g) + weight_decay * norm(w) + eps)
    rate = min(rate / lr, 1.0) if clip else rate
    return [rate * (b + weight_decay * a) for a, b in zip(w, g, strict=True)]


def reference(gradient, lrs, momentum=0.9, nesterov=False, dampening=0.0, lr_in_momentum=False, **settings):
    """Returns the parameters of the net after a step for each learning rate, as lists of numbers."""
    model = net()
    buffers = {}
    for step, lr in enumerate(lrs):
        model.zero_grad()
        loss_of(model, step).backward()
        for name, param in model.named_parameters():
            w, g = param.detach().flatten().tolist(), param.grad.flatten().tolist()
            change = gradient(w, g, param.ndim < 2, lr, **settings)
            change = [lr * value for value in change] if lr_in_momentum else change
            if name in buffers:
                buffers[name] = [momentum * v + (1 - dampening) * d for v, d in zip(buffers[name], change, strict=True)]
            else:
                buffers[name] = list(change)
            if nesterov:
                change = [d + momentum * v for d, v in zip(change, buffers[name], strict=True)]
            elif momentum:
                change = buffers[name]
            rate = 1.0 if lr_in_momentum else lr
            moved = [a - rate * d for a, d in zip(w, change, strict=True)]
            param.data = torch.tensor(moved, dtype=torch.float64).view(param.shape)
    return {name: param.detach() for name, param in model.named_parameters()}


def trained(optimizer_type, lrs, **settings):
    model = net()
    optimizer = optimizer_type(model.parameters(), lr=lrs[0], **settings)
    for step, lr in enumerate(lrs):
        optimizer.param_groups[0]['lr'] = lr
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    return {name: param.detach() for name, param in model.named_parameters()}


def compare(ours, theirs):
    start = dict(net().named_parameters())
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-10, atol=1e-13, msg=partial('{}: {}'.format, name))
        assert (expected - start[name]).abs().max() > 1e-6, name


# A schedule: with a constant rate, the place of the rate would make no difference. With larger rates the net's path is
# chaotic, and rounding becomes visible.
LRS = [0.05 * (1 + math.cos(math.pi * step / STEPS)) + 0.005 for step in range(STEPS)]


@pytest.mark.parametrize(('norm_of', 'lr_in_momentum', 'clip_lr', 'nesterov'),
                         product(['sum', 'separate'], [True, False], [True, False], [True, False]))
def test_lars_is_what_its_formula_says(norm_of, lr_in_momentum, clip_lr, nesterov):
    settings = dict(norm_of=norm_of, lr_in_momentum=lr_in_momentum, clip_lr=clip_lr, nesterov=nesterov,
                    weight_decay=0.03, trust_coefficient=0.02)
    compare(trained(LARS, LRS, **settings), reference(lars_gradient, LRS, **settings))


@pytest.mark.parametrize('settings', [dict(momentum=0.0), dict(dampening=0.3), dict(exclude_1d=False, weight_decay=0.1),
                                      dict(eps=0.5), dict(weight_decay=0.0, norm_of='separate')])
def test_further_settings_of_lars(settings):
    settings = dict(trust_coefficient=0.02, lr_in_momentum=True) | settings
    compare(trained(LARS, LRS, **settings), reference(lars_gradient, LRS, **settings))


@pytest.mark.parametrize('settings', [dict(clip=True), dict(clip=False), dict(clip=True, nesterov=True),
                                      dict(clip=False, momentum=0.0), dict(dampening=0.3)])
def test_larc_is_what_its_formula_says(settings):
    settings = dict(weight_decay=0.03, trust_coefficient=0.02 if settings.get('clip', True) else 0.5) | settings
    compare(trained(LARC, LRS, **settings), reference(larc_gradient, LRS, **settings))


def test_without_adaption_lars_is_sgd():
    model, other = net(), net()
    ours = LARS([dict(params=model.parameters(), lars_exclude=True)], lr=0.1, weight_decay=0.01, nesterov=True,
                exclude_1d=False, lr_in_momentum=False)
    sgd = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    for step in range(5):
        for moving, optimizer in ((model, ours), (other, sgd)):
            optimizer.zero_grad()
            loss_of(moving, step).backward()
            optimizer.step()
    for param, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(param, expected, rtol=1e-12, atol=1e-14)


def single(value, grad):
    param = nn.Parameter(torch.tensor(value, dtype=torch.float64))
    param.grad = torch.tensor(grad, dtype=torch.float64)
    return param


@pytest.mark.parametrize('lr_in_momentum', [True, False])
@pytest.mark.parametrize('exclude_1d', [True, False])
def test_momentum_grows(lr_in_momentum, exclude_1d):
    # w = 0 so that nothing is adapted but by 1; put back each time, so that steps add up as momentum does
    param = single([[0.0, 0.0]], [[1.0, 0.0]])
    optimizer = LARS([param], lr=0.5, lr_in_momentum=lr_in_momentum, exclude_1d=exclude_1d)
    steps = []
    for _ in range(3):
        optimizer.step()
        steps.append(-param.data[0, 0].item() / 0.5)
        param.data.zero_()
    assert steps == pytest.approx([1, 1.9, 2.71])


def test_the_first_step_is_the_trust_coefficient_times_the_norm_of_the_weights():
    param = single([[3.0, 4.0]], [[0.0, 250.0]])
    LARS([param], lr=2.0, trust_coefficient=0.01, eps=0.0).step()
    # however large the gradient: lr c |w| = 2 * 0.01 * 5 = 0.1
    assert param.tolist() == [[3.0, pytest.approx(3.9)]]


@pytest.mark.parametrize(('norm_of', 'expected'), [('sum', 1 + 0.1), ('separate', 1 + 0.1 * 0.5 / 1.5)])
def test_the_two_norms_differ_where_decay_and_gradient_cancel(norm_of, expected):
    # g + b w = -1 + 0.5: its norm is 0.5, while |g| + b |w| = 1.5
    param = single([[1.0]], [[-1.0]])
    LARS([param], lr=1.0, trust_coefficient=0.1, eps=0.0, weight_decay=0.5, norm_of=norm_of).step()
    assert param.item() == pytest.approx(expected)


@pytest.mark.parametrize('kind', [LARS, LARC])
def test_what_begins_at_0_moves(kind):
    norm_layer = nn.BatchNorm1d(3)
    optimizer = kind(norm_layer.parameters(), lr=0.1)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    (norm_layer(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    optimizer.step()
    # the gradient of the shift is 8 times 1, 2, 3
    torch.testing.assert_close(norm_layer.bias.detach(), torch.tensor([-0.8, -1.6, -2.4]))


@pytest.mark.parametrize('settings', [dict(norm_of='sum'), dict(norm_of='separate', clip_lr=True), dict(eps=0.0),
                                      dict(eps=0.0, norm_of='separate', clip_lr=True)])
@pytest.mark.parametrize('lr', [0.1, 0.0])
def test_lars_stays_finite_where_nothing_is(settings, lr):
    for value, grad in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        for weight_decay in (0.0, 0.1):
            param = single([[value] * 2], [[grad] * 2])
            optimizer = LARS([param], lr=lr, exclude_1d=False, weight_decay=weight_decay, **settings)
            for _ in range(2):
                optimizer.step()
            assert param.isfinite().all()
            assert (param == value).all() == (not lr or not (grad or value and weight_decay))


@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('lr', [0.1, 0.0])
def test_larc_leaves_alone_what_has_no_gradient(clip, lr):
    for value, grad in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        param = single([value] * 2, [grad] * 2)
        LARC([param], lr=lr, clip=clip, weight_decay=0.1, eps=0.0).step()
        assert param.tolist() == [value - lr * grad] * 2


def test_excluded_are_all_parameters_of_one_dimension():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4)), nn.Linear(4, 2))
    model.scale = nn.Parameter(torch.tensor(2.0))
    for param in model.parameters():
        nn.init.constant_(param, 2.0)
        param.grad = torch.full_like(param, 3.0)
    LARS(model.parameters(), lr=1.0, weight_decay=0.5, trust_coefficient=0.01, eps=0.0).step()
    plain = {name for name, param in model.named_parameters() if (param == 2.0 - 3.0).all()}
    assert plain == {'0.bias', '1.0.weight', '1.0.bias', '2.bias', 'scale'}
    # the others lose 1 % of their norm, along g + b w, which points the way of w
    for name in ('0.weight', '2.weight'):
        torch.testing.assert_close(model.get_parameter(name).detach(), torch.full_like(model.get_parameter(name), 1.98))


@pytest.mark.parametrize(('kind', 'settings', 'message'), [
    (LARS, dict(lr=-0.1), 'LARS: lr must be 0 or more, not -0.1'), (LARC, dict(lr=math.nan), 'LARC: lr must be'),
    (LARS, dict(lr=0.1, momentum=-1), 'momentum must be 0 or more'),
    (LARS, dict(lr=0.1, weight_decay=-1), 'weight_decay must be 0 or more'),
    (LARC, dict(lr=0.1, eps=-1), 'eps must be 0 or more'),
    (LARS, dict(lr=0.1, trust_coefficient=0), 'trust_coefficient must be above 0, not 0'),
    (LARC, dict(lr=0.1, nesterov=True, momentum=0), 'LARC: nesterov needs a momentum and no dampening'),
    (LARS, dict(lr=0.1, nesterov=True, dampening=0.1), 'nesterov needs a momentum and no dampening'),
    (LARS, dict(lr=0.1, norm_of='both'), "LARS: norm_of is 'sum' or 'separate', not 'both'"),
    (LARS, dict(lr=math.inf), 'lr must be 0 or more, not inf')])
def test_settings_out_of_range(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(net().parameters(), **settings)
    with pytest.raises(ValueError, match=message):
        kind([dict(params=net().parameters(), **settings)], lr=0.1)


def test_parameters_without_gradient_are_skipped_and_sparse_gradients_refused():
    table = nn.Embedding(5, 2, sparse=True)
    idle = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([idle, *table.parameters()], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert (idle == 1).all() and not optimizer.state
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match='LARS does not take sparse gradients'):
        optimizer.step()


def test_a_closure_is_called_with_gradients():
    model = net()
    optimizer = LARS(model.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == before
    assert closure().item() != before


@pytest.mark.parametrize(('kind', 'settings'), [(LARS, dict(lr_in_momentum=True)), (LARS, dict(lr_in_momentum=False)),
                                                (LARS, dict(lars_exclude=True)), (LARC, {})])
def test_gradients_are_left_as_they_are(kind, settings):
    model = net()
    optimizer = kind(model.parameters(), lr=0.3, **settings)
    loss_of(model, 0).backward()
    before = [param.grad.clone() for param in model.parameters()]
    for _ in range(3):
        optimizer.step()
    assert all(torch.equal(param.grad, grad) for param, grad in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize('kind', [LARS, LARC])
def test_without_momentum_there_is_no_state(kind):
    model = net()
    optimizer = kind(model.parameters(), lr=0.3, momentum=0.0)
    loss_of(model, 0).backward()
    optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize('kind', ['LARS', 'LARC'])
def test_a_group_for_each_parameter_changes_nothing(kind):
    whole, split = net(), net()
    paramwise = dict(norm_decay_mult=1.0, custom_keys={'2.weight': dict(decay_mult=1.0)})
    wrappers = [build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=dict(
        type=f'fedvssl.{kind}', lr=0.3, weight_decay=0.1), **extra))
        for model, extra in ((whole, {}), (split, dict(paramwise_cfg=paramwise)))]
    assert [sum(1 for group in wrapper.param_groups if group['params']) for wrapper in wrappers] == [1, 8]
    for step in range(3):
        for model, wrapper in zip((whole, split), wrappers, strict=True):
            wrapper.update_params(loss_of(model, step))
    for param, expected in zip(split.parameters(), whole.parameters(), strict=True):
        assert torch.equal(param, expected)


def test_paramwise_settings_reach_their_group():
    model = net()
    wrapper = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='fedvssl.LARS', lr=0.5, weight_decay=0.1, trust_coefficient=0.01),
        paramwise_cfg=dict(custom_keys={'2.weight': dict(lars_exclude=True, decay_mult=0, lr_mult=2)})))
    start = {name: param.detach().clone() for name, param in model.named_parameters()}
    loss_of(model, 0).backward()
    for name, param in model.named_parameters():
        param.grad = torch.ones_like(param) if name in ('0.weight', '2.weight') else None
    wrapper.step()
    torch.testing.assert_close(model[2].weight.detach(), start['2.weight'] - 0.5 * 2)  # plain gradient, no decay
    moved = (model[0].weight.detach() - start['0.weight']).norm()
    torch.testing.assert_close(moved, 0.5 * 0.01 * start['0.weight'].norm())


def optimizer_config(tmp_path, **optimizer):
    from fedvssl.config import from_dict

    values = tiny_values(tmp_path)
    values['optim_wrapper'] = dict(type='OptimWrapper', optimizer=optimizer)
    return from_dict(values)


def test_configs_name_it_and_its_arguments_are_checked(tmp_path):
    check_types(optimizer_config(tmp_path, type='fedvssl.LARS', lr=0.3, clip_lr=True, norm_of='separate'))
    check_types(optimizer_config(tmp_path, type='fedvssl.LARC', lr=0.3, clip=False))
    with pytest.raises(ConfigError, match="optim_wrapper.optimizer.trust_coeff: unknown argument of fedvssl.LARS; did "
                                          "you mean 'trust_coefficient'"):
        check_types(optimizer_config(tmp_path, type='fedvssl.LARS', lr=0.3, trust_coeff=0.1))
    with pytest.raises(ConfigError, match="optim_wrapper.optimizer.type: unknown type 'fedvssl.LARZ'"):
        check_types(optimizer_config(tmp_path, type='fedvssl.LARZ', lr=0.3))


@pytest.mark.parametrize('kind', [LARS, LARC])
def test_a_run_can_be_continued_to_the_bit(kind):
    def run(model, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()

    model, other = net(), net()
    optimizer = kind(model.parameters(), lr=0.3, weight_decay=0.1)
    run(model, optimizer, range(4))
    tensors = optimizer_tensors(model, optimizer)
    assert set(tensors) == {f'{name}.momentum_buffer' for name, _ in model.named_parameters()}
    other.load_state_dict(model.state_dict())
    continued = kind(other.parameters(), lr=0.3, weight_decay=0.1)
    load_optimizer_tensors(other, continued, tensors)
    run(model, optimizer, range(4, 8))
    run(other, continued, range(4, 8))
    for param, expected in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(param, expected)
