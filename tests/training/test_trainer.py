"""The training loop: the learning rate of each step, and that a re-armed trainer knows nothing of the last client."""

from dataclasses import replace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from fedvssl.errors import ConfigError
from fedvssl.models import BackboneModel
from fedvssl.training.hooks import Hook
from fedvssl.training.schedules import ConstantSchedule, StepSchedule
from fedvssl.training.trainer import Span, Trainer, build_trainer


class Slope(BackboneModel):
    """Loss = weight: each step of plain SGD subtracts exactly the learning rate."""

    features = loss = predict = score = None  # no part in these tests

    def __init__(self):
        super().__init__(dict(type='BaseDataPreprocessor'))
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.weight + 0 * inputs.sum())


class Weights(Hook):
    """Remembers a model's weight after each step."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def after_step(self, number, metrics):
        self.seen.append((number, metrics['step'], self.model.weight.item()))


def slope(schedule, lr=1.0):
    return Trainer(Slope(), dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr)), schedule)


def test_every_step_uses_the_learning_rate_of_its_progress():
    trainer = slope(StepSchedule([0.5]), lr=2.0)
    hook = Weights(trainer.model)
    means = trainer.fit([dict(inputs=torch.ones(1))] * 4, Span(0.25, 0.75, 4), hook, number=5)
    # p = 0.25, 0.375, 0.5, 0.625
    assert [(number, step) for number, step, _ in hook.seen] == [(5, 1), (5, 2), (5, 3), (5, 4)]
    assert [weight for *_, weight in hook.seen] == pytest.approx([-2, -4, -4.2, -4.4])
    assert means == pytest.approx({'loss': (0 - 2 - 4 - 4.2) / 4})


def test_one_trainer_serves_every_part_of_a_run():
    trainer = slope(StepSchedule([0.5]))
    for begin, expected in ((0.5, -0.1), (0.0, -1.1), (0.5, -1.2)):  # factors do not multiply up
        trainer.fit([dict(inputs=torch.ones(1))], Span(begin, begin + 0.5, 1))
        assert trainer.model.weight.item() == pytest.approx(expected)


def test_an_optimiser_that_cannot_be_built_is_a_config_error():
    with pytest.raises(ConfigError, match='optim_wrapper: cannot build it'):
        Trainer(Slope(), dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=-1.0)), ConstantSchedule())


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_on_a_cpu_is_a_config_error():
    with pytest.raises(ConfigError, match=r"optim_wrapper.type: mixed precision needs a GPU.*take 'OptimWrapper'"):
        Trainer(Slope(), dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=1.0)), ConstantSchedule())


@pytest.fixture
def trainer(tiny_config):
    """A trainer of the tiny model: SGD with momentum, clipped gradients (which are logged), dropout."""
    return build_trainer(tiny_config())


def batches(count=2):
    generator = torch.Generator().manual_seed(3)
    return [dict(inputs=torch.randint(256, (2, 3, 4, 16, 16, 3), dtype=torch.uint8, generator=generator),
                 data_samples=dict(target=torch.randint(6, (2,), generator=generator))) for _ in range(count)]


def snapshot(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def trained(trainer):
    torch.manual_seed(5)
    trainer.fit(batches(), Span(0, 1, 2))
    return snapshot(trainer)


def equal(first, second):
    return all(first[name].equal(second[name]) for name in first)


def test_a_rearmed_trainer_repeats_itself_to_the_bit(trainer):
    initial = snapshot(trainer)
    first = trained(trainer)
    trainer.rearm(initial)
    assert equal(snapshot(trainer), initial)
    assert equal(trained(trainer), first)
    trainer.model.load_state_dict(initial)  # without re-arming, the momentum is still there
    assert not equal(trained(trainer), first)


def test_what_is_logged_does_not_grow_with_the_clients(trainer):
    initial, sizes = snapshot(trainer), []
    for _ in range(4):
        trainer.rearm(initial)
        trained(trainer)
        hub = MessageHub.get_current_instance()
        sizes.append((sum(len(buffer.data[0]) for buffer in hub.log_scalars.values()), len(hub.runtime_info)))
    assert sizes[0][0] == 2  # a gradient norm a step: there is something to forget
    assert set(sizes) == {sizes[0]}


def test_predictions_stand_beside_their_targets_and_change_nothing(trainer):
    before, data = snapshot(trainer), batches(3)
    scores, targets = trainer.predict(data)
    again, _ = trainer.predict(data[1:2])  # no dropout, no batch statistics
    assert scores.shape == (6, 6) and torch.allclose(scores[2:4], again, atol=1e-6)
    assert targets.tolist() == [int(t) for batch in data for t in batch['data_samples']['target']]
    assert equal(snapshot(trainer), before)


def test_rearm_forgets_gradients_that_were_not_yet_applied(tiny_config):
    """With gradient accumulation, what one client left over must not reach the next."""
    config = tiny_config()
    wrapper = dict(config.optim_wrapper, accumulative_counts=2)
    trainer = build_trainer(replace(config, optim_wrapper=wrapper))
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    batch = dict(inputs=torch.randint(256, (2, 3, 4, 16, 16, 3), dtype=torch.uint8),
                 data_samples=dict(target=torch.tensor([0, 3])))

    def train(steps):
        trainer.rearm(start)
        torch.manual_seed(0)  # dropout
        trainer.fit([batch] * steps, Span(0, 1, steps))
        return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

    fresh = train(2)
    train(1)
    again = train(2)
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)


def test_a_device_that_is_not_there(tiny_config):
    config = tiny_config()
    with pytest.raises(ConfigError, match="runtime.device: cannot use 'cudaa'"):
        build_trainer(replace(config, runtime=replace(config.runtime, device='cudaa')))
