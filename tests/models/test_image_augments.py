"""Augmentation of images: every image by its own draws, each operation against a second implementation."""

import colorsys
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.blur import GaussianBlur, blur, gaussian
from fedvssl.models.augments.image.crop import ResizedCrop, largest_box, resized_crop
from fedvssl.models.augments.image.grey import Grayscale
from fedvssl.models.augments.image.hue import turn_hue_
from fedvssl.models.augments.image.jitter import ColorJitter, jitter_
from fedvssl.models.augments.image.presets import SCALES, method_views, training_views
from fedvssl.models.augments.image.solarize import Solarize
from fedvssl.models.augments.image.views import augment, build_views, to_floats

OPS = [dict(type='ResizedCrop', size=10), dict(type='Grayscale', p=0.5), dict(type='Solarize', p=0.5),
       dict(type='GaussianBlur', p=0.5),
       dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=random(seed))


def built(op):
    return build_views([[op]])[0][0]


@pytest.mark.parametrize('op', OPS, ids=lambda op: op['type'])
class TestEveryOp:
    def test_images_of_a_batch_differ_and_the_seed_decides(self, op):
        images = noise(1, 3, 12, 12).expand(24, 3, 12, 12)
        results = built(op)(images, random(3))
        assert len({tuple(image.flatten().tolist()) for image in results}) > 1
        assert built(op)(images, random(3)).equal(results)
        assert not built(op)(images, random(4)).equal(results)

    def test_input_is_untouched_and_output_a_new_tensor_of_images(self, op):
        images = noise(8, 3, 12, 17)
        before = images.clone()
        results = built(op)(images, random())
        assert images.equal(before) and results.data_ptr() != images.data_ptr()
        assert results.dtype == torch.float32 and results.is_contiguous()
        assert results.min() >= 0 and results.max() <= 1
        assert results.shape == ((8, 3, 10, 10) if op['type'] == 'ResizedCrop' else (8, 3, 12, 17))

    def test_memory_layout_changes_nothing(self, op):
        images = noise(8, 3, 12, 17)
        results = built(op)(images, random())
        torch.testing.assert_close(built(op)(images.to(memory_format=torch.channels_last), random()), results)

    def test_a_batch_of_one_is_the_op_itself(self, op):
        images = noise(1, 3, 12, 12)
        surely = op if op['type'] == 'ResizedCrop' else dict(op, p=1.0)
        assert not built(surely)(images, random())[0].equal(images[0])

    def test_only_rgb_floats(self, op):
        for images in noise(2, 1, 8, 8), noise(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8):
            with pytest.raises(ConfigError, match=rf'{op["type"]}: takes float images \(B, 3, H, W\)'):
                built(op)(images, random())


# Resized crop


def test_crop_is_cutting_out_and_resizing():
    """For boxes in every corner, of one pixel, of all, flipped and not; in F.interpolate's arithmetic."""
    height, width, size = 24, 37, 20
    images = noise(40, 3, height, width)
    boxes = ResizedCrop(size, ratio=(0.5, 2)).boxes(40, height, width, random(1))
    boxes[:5] = torch.tensor([[0, 0, height, width], [23, 36, 1, 1], [0, 36, 24, 1], [4, 17, 20, 20], [0, 0, 2, 37]])
    flipped = noise(40, seed=2) < 0.5
    assert flipped[:5].any() and not flipped[:5].all()
    results = resized_crop(images, boxes, flipped, size)
    for image, box, flip, result in zip(images, boxes.long().tolist(), flipped, results, strict=True):
        y, x, h, w = box
        cut = image[None, :, y:y + h, x:x + w]
        wanted = F.interpolate(cut, size=(size, size), mode='bilinear', align_corners=False)[0]
        torch.testing.assert_close(result, wanted.flip(2) if flip else wanted, atol=1e-5, rtol=0)


def test_a_crop_of_everything_is_the_identity():
    images = noise(4, 3, 9, 9)
    assert ResizedCrop(9, scale=(1, 1), ratio=(1, 1), flip=0)(images, random()).equal(images)
    assert ResizedCrop(9, scale=(1, 1), ratio=(1, 1), flip=1)(images, random()).equal(images.flip(3))


def expected_area(size, scale, ratio):
    """Mean and standard deviation of the first fitting box's share of a square, by integration over a grid."""
    area = np.linspace(*scale, 2001)[:, None] * size ** 2
    aspect = np.exp(np.linspace(*np.log(ratio), 2001))
    h, w = np.round(np.sqrt(area / aspect)), np.round(np.sqrt(area * aspect))
    share = (h * w / size ** 2)[(h <= size) & (w <= size)]
    return share.mean(), share.std()


def test_boxes_have_the_published_distribution():
    n, size = 6000, 32
    boxes = ResizedCrop(size).boxes(n, size, size, random())
    y, x, h, w = boxes.unbind(1)
    assert boxes.equal(boxes.round()) and min(y.min(), x.min()) == 0 and max((y + h).max(), (x + w).max()) == size
    mean, deviation = expected_area(size, (0.08, 1), (3 / 4, 4 / 3))
    assert abs((h * w / size ** 2).mean() - mean) < 3 * deviation / n ** 0.5
    aspect = (w / h).log()
    assert abs(aspect.mean()) < 3 * aspect.std() / n ** 0.5  # symmetric in the logarithm
    for start, length in (y, h), (x, w):
        loose = length < size
        place = (start[loose] + 0.5) / (size - length[loose] + 1)  # uniform on the middles of equal parts of 0..1
        assert abs(place.mean() - 0.5) < 3 * place.std() / len(place) ** 0.5
        assert place.std() == pytest.approx(12 ** -0.5, rel=0.05)


def test_a_box_that_cannot_fit_is_the_largest_in_the_middle():
    boxes = ResizedCrop(8, scale=(1, 1)).boxes(50, 10, 40, random())  # the whole area at an aspect of up to 4/3
    assert boxes.equal(torch.tensor([[0, 13, 10, 13]], dtype=torch.float64).expand(50, 4))
    assert largest_box(40, 10, (3 / 4, 4 / 3)) == (13, 10) and largest_box(10, 12, (3 / 4, 4 / 3)) == (10, 12)


def test_half_the_images_are_flipped():
    n = 4000
    images = torch.zeros(n, 3, 2, 2)
    images[..., 0] = 1
    flipped = ResizedCrop(2, scale=(1, 1), ratio=(1, 1), flip=0.3)(images, random())[:, 0, 0, 1].mean()
    assert abs(flipped - 0.3) < 3 * (0.3 * 0.7 / n) ** 0.5


# Colours


@pytest.mark.parametrize(('op', 'p'), [
    (Grayscale(), 0.2), (Solarize(0.3), 0.3), (GaussianBlur(0.5), 0.5), (ColorJitter(0.4, 0.4, 0.4, 0.1), 0.8)])
def test_the_rate_of_changed_images(op, p):
    n = 4000
    images = noise(n, 3, 4, 4)
    changed = (op(images, random()) != images).flatten(1).any(1).double().mean()
    assert abs(changed - p) < 3 * (p * (1 - p) / n) ** 0.5


def reference_jitter(image, factors, when):
    """The four changes of one image (3, H, W), pixel by pixel and in float64."""
    pixels = image.double().flatten(1).T.tolist()

    def luma(pixel):
        return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

    def blend(pixel, base, factor):
        return [min(max(factor * channel + (1 - factor) * base, 0), 1) for channel in pixel]

    for kind in sorted(range(4), key=lambda kind: when[kind]):
        factor = factors[kind]
        if kind == 0:
            pixels = [blend(pixel, 0, factor) for pixel in pixels]
        elif kind == 1:
            mean = sum(map(luma, pixels)) / len(pixels)
            pixels = [blend(pixel, mean, factor) for pixel in pixels]
        elif kind == 2:
            pixels = [blend(pixel, luma(pixel), factor) for pixel in pixels]
        else:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels]
            pixels = [colorsys.hsv_to_rgb((h + factor) % 1, s, v) for h, s, v in hsv]
    return torch.tensor(pixels).T.view(image.shape)


def test_jitter_is_the_four_changes_in_each_images_order():
    images = noise(60, 3, 3, 4)
    images[0] = 0.5
    images[1, :, 0] = torch.tensor([0.0, 1.0, 1.0])[:, None]
    op = ColorJitter(0.8, 0.8, 0.8, 0.2, p=1)
    parameters = op.draw(60, random(5))
    parameters = parameters[op.order(parameters)]
    when = parameters[:, 4:].long()
    assert len({tuple(row) for row in when.tolist()}) > 20 and when.sort(1).values.equal(torch.arange(4).expand(60, 4))
    results = op.change(images.clone(), parameters)
    for image, result, row in zip(images, results, parameters.tolist(), strict=True):
        torch.testing.assert_close(result, reference_jitter(image, row[:4], row[4:]).float(), atol=3e-6, rtol=0)


def test_factors_are_uniform_around_none():
    factors = ColorJitter(0.4, 1.5, 0.0, 0.1).draw(4000, random())[:, :4]
    for column, (low, high) in zip(factors.T, [(0.6, 1.4), (0, 2.5), (1, 1), (-0.1, 0.1)], strict=True):
        assert low - 1e-6 <= column.min() and column.max() <= high + 1e-6
        assert abs(column.mean() - (low + high) / 2) <= 3 * (high - low) / 12 ** 0.5 / 4000 ** 0.5 + 1e-7


def test_each_change_alone():
    image = noise(1, 3, 2, 2)
    when = torch.arange(4)[None]
    for place, factor in (0, 1.3), (1, 0.4), (2, 1.7), (3, -0.13):
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[place] = factor
        changed = jitter_(image.clone().flatten(2), torch.tensor([factors]), when).view(image.shape)
        torch.testing.assert_close(changed[0], reference_jitter(image[0], factors, range(4)).float())


def test_a_jitter_of_no_strength_is_the_identity():
    images = noise(5, 3, 4, 4)
    assert ColorJitter(0, 0, 0, 0, p=1)(images, random()).equal(images)


@pytest.mark.parametrize('turns', [1.0, 2.0, -1.0, 0.0])
def test_a_full_turn_of_the_hue_is_the_identity(turns):
    colours = torch.cat([noise(6, 3, 100), torch.eye(3).repeat(6, 1, 1), torch.full((6, 3, 2), 0.4)], dim=2)
    turned = turn_hue_(colours.clone(), torch.full((6,), turns))
    torch.testing.assert_close(turned, colours, atol=2e-6, rtol=0)
    assert turned[..., -2:].equal(colours[..., -2:])  # greys, to the bit


def test_grey_is_the_luma_in_all_channels():
    images = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    torch.testing.assert_close(Grayscale(1)(images, random()), torch.full((2, 3, 2, 2), 0.299 + 0.2935 + 0.0285))


def test_solarize_by_hand():
    values = torch.tensor([0.0, 0.25, 0.4999, 0.5, 0.75, 1.0]).expand(1, 3, 1, 6)
    torch.testing.assert_close(Solarize(1)(values, random())[0, 0, 0], torch.tensor([0, 0.25, 0.4999, 0.5, 0.25, 0]))
    assert Solarize(1, threshold=0.75)(values, random())[0, 0, 0, 4:].equal(torch.tensor([0.25, 0.0]))


# Blur


@pytest.mark.parametrize('width', [1, 3, 5])
def test_blur_is_the_convolution(width):
    """By sums over the mirrored picture, each image with its own kernel."""
    images, sigma, half = noise(4, 3, 7, 9).double(), torch.tensor([0.1, 0.5, 1.0, 2.0]), width // 2
    blurred = blur(images, gaussian(sigma, width))
    for number, (image, deviation) in enumerate(zip(images, sigma.tolist(), strict=True)):
        weights = np.array([math.exp(-(i * i) / (2 * deviation ** 2)) for i in range(-half, half + 1)])
        kernel = np.outer(weights, weights) / weights.sum() ** 2
        mirrored = np.pad(image.numpy(), ((0, 0), (half, half), (half, half)), mode='reflect')
        wanted = sum(kernel[dy, dx] * mirrored[:, dy:dy + 7, dx:dx + 9] for dy in range(width) for dx in range(width))
        np.testing.assert_allclose(blurred[number].numpy(), wanted, rtol=1e-6)


def test_the_kernel_follows_the_image():
    """An impulse spreads over as many pixels as the kernel is wide: 3 of 32, 23 of 224."""
    for size, width in (32, 3), (18, 3), (224, 23):
        impulse = torch.zeros(1, 3, size, size + 5)
        impulse[..., size // 2, size // 2] = 1
        spread = GaussianBlur(1, sigma=(2, 2))(impulse, random())
        assert (spread[0, 0] > 0).sum() == width ** 2
        assert spread.sum() == pytest.approx(3, rel=1e-5)


# Views


def test_views_of_a_batch():
    images = torch.randint(256, (6, 32, 32, 3), generator=random(), dtype=torch.uint8)
    before = images.clone()
    ops = build_views(method_views('swav', 32))
    views = augment(images, ops, random(1))
    assert images.equal(before)
    assert [view.shape for view in views] == [(6, 3, 32, 32)] * 2 + [(6, 3, 18, 18)] * 6
    assert all(view.dtype == torch.float32 and view.min() >= 0 and view.max() <= 1 for view in views)
    assert not views[0].equal(views[1])
    again = augment(images, ops, random(1))
    assert all(view.equal(same) for view, same in zip(views, again, strict=True))


def test_a_view_is_its_operations_one_after_the_other():
    """What `augment` computes in place is what the operations give when each makes a new tensor."""
    images = torch.randint(256, (16, 14, 11, 3), generator=random(), dtype=torch.uint8)
    ops = build_views([OPS])
    one_by_one, generator = to_floats(images), random(2)
    for op in ops[0]:
        one_by_one = op(one_by_one, generator)
    assert augment(images, ops, random(2))[0].equal(one_by_one)
    in_front = build_views([OPS[1:]])  # the floats are all views': the first operation must not change them
    first, second = augment(images, [in_front[0], []], random(2))
    assert not first.equal(second) and second.equal(images.permute(0, 3, 1, 2).float().div(255))


def test_only_uint8_images():
    zeros = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    for images in noise(2, 8, 8, 3), zeros, zeros[0].permute(1, 2, 0):
        with pytest.raises(ConfigError, match=r'augment: takes uint8 images \(B, H, W, 3\), not torch'):
            augment(images, [[]], random())


@pytest.mark.parametrize('size', [32, 224])
@pytest.mark.parametrize('method', SCALES)
def test_every_preset_is_built(method, size):
    views = method_views(method, size)
    assert len(build_views(views)) == len(views) == (8 if method in ('swav', 'dino') else 2)
    blurred = any(op['type'] == 'GaussianBlur' for view in views for op in view)
    assert blurred == (size == 224 and method not in ('supcon', 'mocov1'))


def arguments(view, kind, *names):
    return [tuple(op.get(name) for name in names) for op in view if op['type'] == kind]


def test_presets_have_the_published_values():
    colours = 'brightness', 'contrast', 'saturation', 'hue', 'p'
    first, second = method_views('byol', 224)
    assert arguments(first, 'GaussianBlur', 'p') == [(1.0,)] and arguments(second, 'GaussianBlur', 'p') == [(0.1,)]
    assert arguments(first, 'Solarize', 'p') == [] and arguments(second, 'Solarize', 'p', 'threshold') == [(0.2, 0.5)]
    assert arguments(first, 'ColorJitter', *colours) == [(0.4, 0.4, 0.2, 0.1, 0.8)]
    simclr, small = method_views('simclr', 224)[0], method_views('simclr', 32)[1]
    assert arguments(simclr, 'ColorJitter', *colours) == [(0.8, 0.8, 0.8, 0.2, 0.8)]
    assert arguments(small, 'ColorJitter', *colours) == [(0.4, 0.4, 0.4, 0.1, 0.8)]
    assert arguments(simclr, 'ResizedCrop', 'size', 'scale', 'flip') == [(224, (0.08, 1.0), 0.5)]
    assert [op['type'] for op in method_views('mocov1', 32)[0]] == ['ResizedCrop', 'Grayscale', 'ColorJitter']
    dino = method_views('dino', 224, local_views=8)
    assert [arguments(view, 'ResizedCrop', 'size', 'scale')[0] for view in dino] == (
        [(224, (0.4, 1.0))] * 2 + [(96, (0.05, 0.4))] * 8)
    assert [arguments(view, 'GaussianBlur', 'p')[0][0] for view in dino] == [1.0, 0.1] + [0.5] * 8
    small_swav = [arguments(view, 'ResizedCrop', 'size', 'scale')[0] for view in method_views('swav', 32)]
    assert small_swav == [(32, (0.2, 1.0))] * 2 + [(18, (0.08, 0.5))] * 6
    assert training_views(32) == [[dict(type='ResizedCrop', size=32, scale=(0.08, 1.0), flip=0.5)]]


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: ResizedCrop(0), 'size must be a whole number of pixels, at least 1, not 0'),
    (lambda: ResizedCrop(8, scale=(0.5, 0.1)), 'scale must be two ascending numbers above 0, at most 1'),
    (lambda: ResizedCrop(8, scale=(0, 1)), 'scale must be'),
    (lambda: ResizedCrop(8, ratio=(1, 2, 3)), 'ratio must be two ascending numbers above 0, not'),
    (lambda: ResizedCrop(8, flip=1.2), 'flip must be a number from 0 to 1, not 1.2'),
    (lambda: Grayscale(-0.1), 'Grayscale: p must be'),
    (lambda: Solarize(0.5, threshold=128), 'threshold must be a number from 0 to 1, not 128'),
    (lambda: ColorJitter(-1, 0, 0, 0), 'brightness must be a number of at least 0, not -1'),
    (lambda: ColorJitter(0, 0, 0, 0.6), 'hue must be a number from 0 to 0.5'),
    (lambda: GaussianBlur(0.5, sigma=(0, 1)), 'sigma must be two ascending numbers above 0'),
    (lambda: GaussianBlur(0.5, kernel_size=4), 'kernel_size must be odd, not 4'),
    (lambda: GaussianBlur(1, kernel_size=9)(noise(1, 3, 4, 8), random()), 'kernel_size 9 is too wide for images of 4'),
    (lambda: resized_crop(noise(2, 3, 4, 4), torch.zeros(1, 4), torch.zeros(2).bool(), 4), 'one box and one flip'),
    (lambda: build_views([]), 'views: there must be at least one view'),
    (lambda: build_views([[dict(type='Solarize')]], 'model.views'), r"model.views\[0\]: cannot build 'Solarize'"),
    (lambda: method_views('simclr3', 32), "no augmentation is known for 'simclr3'; did you mean 'simclr'"),
    (lambda: method_views('swav', 32, local_views=-1), 'local_views must be a whole number, at least 0'),
    (lambda: training_views(31.5), 'image_size must be a whole number of pixels')])
def test_bad_arguments(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
