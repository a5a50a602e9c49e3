"""The image methods' losses: golden values of the specification, closed forms, invariances."""

import math

import pytest
import torch
from torch.nn import functional as F

from fedvssl.models.contrast import enqueue
from fedvssl.models.image.barlow_twins import barlow_twins
from fedvssl.models.image.byol import squared_distance
from fedvssl.models.image.dino import dino_loss
from fedvssl.models.image.moco import info_nce
from fedvssl.models.image.mocov3 import in_batch_contrast
from fedvssl.models.image.simclr import nt_xent
from fedvssl.models.image.simsiam import negative_cosine
from fedvssl.models.image.supcon import sup_con
from fedvssl.models.image.swav import sinkhorn, swapped_prediction

# N = 6 samples, D = 8 dimensions, float64.
Z1 = torch.sin(torch.arange(48, dtype=torch.float64)).view(6, 8)
Z2 = torch.sin(1.3 * torch.arange(48, dtype=torch.float64) + 0.5).view(6, 8)
P1, P2 = Z1.flip(1), Z2.flip(1)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
PROTOTYPES = F.normalize(torch.cos(torch.arange(40, dtype=torch.float64)).view(5, 8), dim=1)
QUEUE = F.normalize(torch.cos(0.7 * torch.arange(80, dtype=torch.float64)).view(10, 8), dim=1)


def unit(z):
    return F.normalize(z, dim=1)


def simsiam(p1, p2, z1, z2):
    return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2


def byol(p1, p2, t1, t2):
    return squared_distance(p1, t2) + squared_distance(p2, t1)


def swav(z1, z2):
    s1, s2 = unit(z1) @ PROTOTYPES.T, unit(z2) @ PROTOTYPES.T
    q1, q2 = (sinkhorn(s, 0.05, 3) for s in (s1, s2))
    return (swapped_prediction(q1, s2, 0.1) + swapped_prediction(q2, s1, 0.1)) / 2


def moco_v3(p1, p2, k1, k2, temperature):
    return in_batch_contrast(p1, k2, temperature) + in_batch_contrast(p2, k1, temperature)


def dino(student, teacher, centre=0.0):
    return dino_loss(student, teacher, torch.full((student[0].shape[1],), centre, dtype=torch.float64), 0.1, 0.04)


@pytest.mark.parametrize(('value', 'golden'), [
    (lambda: nt_xent(Z1, Z2, 0.5), 2.8464436309196), (lambda: nt_xent(Z1, Z2, 0.1), 8.8715963067520),
    (lambda: sup_con(Z1, Z2, LABELS, 0.07), 14.534928905894),
    (lambda: sup_con(Z1, Z2, torch.arange(6), 0.07), 12.480162361177),
    (lambda: nt_xent(Z1, Z2, 0.07), 12.480162361177),
    (lambda: simsiam(P1, P2, Z1, Z2), 0.2290835189536), (lambda: byol(P1, P2, Z1, Z2), 4.9163340758142),
    (lambda: barlow_twins(Z1, Z2, 0.0051), 10.1420686167051), (lambda: barlow_twins(Z1, Z2, 0.005), 10.1405249210523),
    (lambda: swav(Z1, Z2), 8.2902956776842),
    (lambda: info_nce(unit(Z1), unit(Z2), QUEUE, 0.07), 11.1734376447246),
    (lambda: info_nce(unit(Z1), unit(Z2), QUEUE, 0.2), 4.6421863759261),
    (lambda: moco_v3(P1, P2, Z1, Z2, 0.2), 4.1704548865159), (lambda: moco_v3(P1, P2, Z1, Z2, 1.0), 8.6845121114622),
    (lambda: dino([Z1, Z2], [P1, P2]), 11.7877116122995),
])
def test_golden_values(value, golden):
    assert float(value()) == pytest.approx(golden, abs=1e-9)


@pytest.mark.parametrize('loss', [
    lambda a, b: nt_xent(a, b, 0.3), lambda a, b: sup_con(a, b, LABELS, 0.3), lambda a, b: simsiam(a, b, a, b),
    lambda a, b: byol(a, b, a, b), lambda a, b: moco_v3(a, b, a, b, 0.2), swav])
def test_losses_of_cosines_know_neither_the_order_of_views_nor_lengths(loss):
    lengths = torch.linspace(0.5, 3, 6, dtype=torch.float64)[:, None]
    assert torch.allclose(loss(Z1, Z2), loss(Z2, Z1), rtol=1e-12)
    assert torch.allclose(loss(Z1 * lengths, Z2 * 2), loss(Z1, Z2), rtol=1e-9)


def test_a_factor_of_temperatures():
    assert sup_con(Z1, Z2, LABELS, 0.14, 0.07).allclose(2 * sup_con(Z1, Z2, LABELS, 0.14))


@pytest.mark.parametrize('temperature', [0.1, 0.5])
def test_identical_orthonormal_views(temperature):
    z = torch.eye(6, dtype=torch.float64)
    expected = math.log(1 + 10 * math.exp(-1 / temperature))
    assert float(nt_xent(z, z, temperature)) == pytest.approx(expected, abs=1e-12)


def test_collapsed_outputs():
    same = torch.ones(6, 8, dtype=torch.float64)
    assert float(nt_xent(same, same, 0.5)) == pytest.approx(math.log(11), abs=1e-12)
    assert float(simsiam(same, same, same, same)) == pytest.approx(-1)
    assert float(byol(same, same, same, same)) == pytest.approx(0, abs=1e-12)
    assert float(dino([same, same], [same, same], centre=1.0)) == pytest.approx(math.log(8), abs=1e-12)
    assert float(barlow_twins(same, same, 0.005)) == pytest.approx(8)  # no variance: C = 0


def test_codes_divide_a_batch_evenly():
    q = sinkhorn(unit(Z1) @ PROTOTYPES.T, 0.5, 50)
    assert torch.allclose(q.sum(dim=1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(q.sum(dim=0), torch.full((5,), 6 / 5, dtype=torch.float64), atol=1e-6)
    assert torch.isfinite(sinkhorn(torch.tensor([[1.0, -1.0]]), 1e-3, 3)).all()


def test_a_better_prediction_costs_less():
    codes = torch.eye(5, dtype=torch.float64)
    assert swapped_prediction(codes, codes, 0.1) < swapped_prediction(codes, torch.zeros(5, 5), 0.1)
    assert float(swapped_prediction(codes, torch.zeros(5, 5), 0.1)) == pytest.approx(math.log(5))


def test_small_views_are_predicted_but_predict_nothing():
    """Three student views, two of a teacher: by hand over the four pairs."""
    outputs = [Z1, Z2, P1]
    teacher = [P1, P2]
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2)]
    expected = sum(-(F.softmax(teacher[g] / 0.04, 1) * F.log_softmax(outputs[v] / 0.1, 1)).sum(1).mean()
                   for g, v in pairs) / 4
    assert dino(outputs, teacher).allclose(expected)


@pytest.mark.parametrize('batch', [1, 3, 5, 7])
def test_a_queue_holds_the_last_rows(batch):
    """Batches that do not divide the queue, and ones bigger than it."""
    queue, pointer, seen = torch.zeros(5, 2), torch.zeros((), dtype=torch.int64), []
    for step in range(4):
        rows = torch.arange(batch * 2.0).view(batch, 2) + 100 * step
        enqueue(queue, pointer, rows)
        seen += rows.tolist()
    assert int(pointer) == 4 * batch
    last = {tuple(row) for row in seen[-5:]} | ({(0.0, 0.0)} if 4 * batch < 5 else set())
    assert {tuple(row) for row in queue.tolist()} == last
