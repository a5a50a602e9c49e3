"""RoIAlign against a loop over pixels that follows the definition."""

import math

import pytest
import torch

from fedvssl.models.roi_align import roi_align


def bilinear(plane, y, x):
    """Value of a plane (H, W) at a point; 0 beyond one pixel outside, the border's value up to there."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    above = (1 - dx) * plane[top][left] + dx * plane[top][right]
    below = (1 - dx) * plane[bottom][left] + dx * plane[bottom][right]
    return (1 - dy) * above + dy * below


def by_loops(features, boxes, bins, scale, samples=2):
    """Aligned RoIAlign, (B, K, C, S, S)."""
    batch, channels = features.shape[:2]
    result = torch.zeros(batch, boxes.shape[1], channels, bins, bins, dtype=torch.float64)
    for b, k, c in torch.cartesian_prod(*map(torch.arange, result.shape[:3])).tolist():
        x1, y1, x2, y2 = (float(side) * scale - 0.5 for side in boxes[b, k])
        bin_width, bin_height = (x2 - x1) / bins, (y2 - y1) / bins
        for row in range(bins):
            for column in range(bins):
                values = [bilinear(features[b, c], y1 + (row + (i + 0.5) / samples) * bin_height,
                                   x1 + (column + (j + 0.5) / samples) * bin_width)
                          for i in range(samples) for j in range(samples)]
                result[b, k, c, row, column] = sum(values) / samples ** 2
    return result


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BOXES = {
    'inside': [[8, 8, 40, 24], [17.5, 3.2, 29.1, 30.9]],
    'partly outside': [[-12, -7, 20, 16], [50, 30, 90, 60]],
    'far outside': [[-60, -60, -30, -30], [200, 0, 240, 20]],
    'tiny': [[9, 9, 10, 10], [0, 0, 1, 1]],
    'at the border': [[0, 0, 1, 40], [55, 39, 56, 40]],
    'full': [[0, 0, 56, 40], [-8, -8, 64, 48]],
    'no size': [[20, 20, 20, 20], [20, 10, 20, 30]],
}


@pytest.mark.parametrize('kind', BOXES)
def test_boxes_of_all_kinds(kind):
    """5 x 7 feature maps of a 40 x 56 picture."""
    features, boxes = maps(1, 3, 5, 7), torch.tensor([BOXES[kind]], dtype=torch.float64)
    found = roi_align(features, boxes, 5, 1 / 8)
    assert found.shape == (1, 2, 3, 5, 5)
    assert found.allclose(by_loops(features, boxes, 5, 1 / 8), atol=1e-9)
    single = roi_align(features.float(), boxes.float(), 5, 1 / 8)
    assert single.dtype == torch.float32 and single.double().allclose(found, atol=1e-5)
    if kind == 'far outside':
        assert found.eq(0).all()


@pytest.mark.parametrize(('height', 'width'), [(14, 14), (3, 9), (1, 6), (6, 1), (1, 1)])
def test_batches_and_maps_of_any_size(height, width):
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(3, 4, 2, generator=generator, dtype=torch.float64) * torch.tensor([width, height]) * 8
    boxes = torch.cat([low, low + 60 * torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)], dim=-1)
    features = maps(3, 2, height, width)
    assert roi_align(features, boxes, 3, 1 / 8).allclose(by_loops(features, boxes, 3, 1 / 8), atol=1e-9)


@pytest.mark.parametrize('samples', [1, 2, 3])
def test_sampling_ratio(samples):
    features, boxes = maps(1, 1, 6, 6), torch.tensor([[[3.0, 5.0, 33.0, 41.0]]], dtype=torch.float64)
    assert roi_align(features, boxes, 4, 1 / 8, samples).allclose(by_loops(features, boxes, 4, 1 / 8, samples))


def test_every_image_has_its_own_boxes():
    features = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 7, 7)
    boxes = torch.tensor([[8.0, 8, 40, 40], [1, 2, 50, 51]]).expand(3, 2, 4)
    pooled = roi_align(features, boxes, 2, 1 / 8)
    assert pooled.allclose(torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 2, 2, 2, 2))


def test_a_ramp_by_hand():
    """Features x: a bin's value is its centre, in pixels of the map and half a pixel to the left."""
    features = torch.arange(14.0).expand(1, 1, 14, 14)
    pooled = roi_align(features, torch.tensor([[[16.0, 16.0, 56.0, 56.0]]]), 5, 1 / 8)
    assert pooled[0, 0, 0].allclose(torch.arange(5.0) + 2)


def test_gradients():
    features = maps(2, 2, 3, 4).requires_grad_()
    boxes = torch.tensor([[[0, 0, 20, 24], [-20, 3, 9, 12]], [[5, 5, 6, 6], [-9, -9, 40, 40]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: roi_align(values, boxes, 2, 1 / 8), (features,))


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16])
def test_half_precision_does_not_move_the_samples(kind):
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(2, 3, 14, 14, generator=generator).to(kind)
    boxes = torch.tensor([[[13.7, 20.3, 61.1, 90.9], [40.2, 5.5, 100.4, 47.3]]] * 2)
    found = roi_align(features, boxes, 5, 1 / 8)
    assert found.dtype == kind
    assert found.equal(roi_align(features.float(), boxes, 5, 1 / 8).to(kind))
