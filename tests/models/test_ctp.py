"""CtP: what the loss measures, the published head, and what is refused."""

import math

import pytest
import torch

from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models import PastePatches, build_model
from fedvssl.models.augments.trajectories import Trajectories
from fedvssl.models.pretext.ctp import box_iou, decode, encode, first_boxes, tracking_loss
from fedvssl.registry import MODELS

STDS = torch.tensor([0.8, 0.8, 0.04, 0.04])


def ctp(width=8, clip_length=16, seed=7, **head):
    return build_model(dict(type='CtP', backbone=dict(type='R3D18', base_channels=width, spatial_strides=(1, 2, 2, 1)),
                            head=dict(type='CtPHead', clip_length=clip_length, **head),
                            data_preprocessor=dict(type='ClipPreprocessor', augments=[dict(type='PastePatches')])),
                       seed)


def batch(size, frames, side, clips=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (size, clips, frames, side, side, 3), generator=generator, dtype=torch.uint8)
    return dict(inputs=inputs, data_samples=dict(target=torch.zeros(size, dtype=torch.int64),
                                                 seed=torch.arange(size) + 1000 * seed))


def drawn_boxes(count, frames=16):
    return Trajectories().draw(frames, 112, 112, Draws(range(count))).float()


def test_the_published_network():
    model = MODELS.build(dict(type='CtP', backbone=dict(type='R3D18', spatial_strides=(1, 2, 2, 1)),
                              head=dict(type='CtPHead'),
                              data_preprocessor=dict(type='ClipPreprocessor', augments=[dict(type='PastePatches')])))
    assert sum(parameter.numel() for parameter in model.head.parameters()) == 7_111_744
    assert sum(parameter.numel() for parameter in model.parameters()) == 40_278_016
    assert not [name for name in model.state_dict() if name.startswith('target')]
    shapes = {name: tuple(tensor.shape) for name, tensor in model.head.state_dict().items()}
    assert shapes == {'temporal_conv.weight': (512, 512, 2, 1, 1), 'temporal_conv.bias': (512,),
                      'fc1.weight': (512, 12800), 'fc1.bias': (512,), 'pred_head.weight': (64, 512),
                      'pred_head.bias': (64,)}


@pytest.mark.parametrize(('frames', 'side'), [(8, 56), (8, 32), (16, 32)])
def test_shapes_of_the_output(frames, side):
    model = ctp(clip_length=frames).eval()
    prepared = model.data_preprocessor(batch(2, frames, side))
    assert prepared['inputs'].shape == (2, 1, 3, frames, side, side)
    with torch.no_grad():
        features = model(**prepared, mode='tensor')
        predictions = model(**prepared, mode='predict')
        loss = model(**prepared, mode='loss')
    assert features.shape == (2, 64, frames // 8, -(-side // 8), -(-side // 8))
    assert predictions.shape == prepared['data_samples']['target'].shape == (2, 3, frames, 4)
    assert set(loss) == {'loss', 'loss_center', 'loss_size'}
    assert float(loss['loss']) == pytest.approx(float(loss['loss_center'] + loss['loss_size']))


def test_the_first_loss_is_the_published_one():
    """The new head predicts next to nothing, and nothing costs 22.5."""
    model = ctp()
    prepared = model.data_preprocessor(batch(4, 16, 32))
    with torch.no_grad():
        predictions = model(**prepared, mode='predict')
        first = float(model(**prepared, mode='loss')['loss'])
    assert 0 < predictions.abs().max() < 0.01
    targets = encode(prepared['data_samples']['target']) / STDS
    assert first == pytest.approx(float(tracking_loss(torch.zeros_like(targets), targets)['loss']), abs=0.05)
    targets = encode(drawn_boxes(2000)) / STDS
    assert float(tracking_loss(torch.zeros_like(targets), targets)['loss']) == pytest.approx(22.5, abs=1)


def test_encoding_by_hand():
    boxes = torch.tensor([[[[10.0, 20, 30, 60], [13, 16, 53, 76]]]])
    expected = [[0, 0, 0, 0], [13, 6, math.log(2), math.log(1.5)]]
    assert encode(boxes)[0, 0].tolist() == [pytest.approx(row) for row in expected]


def test_decoding_turns_encoding_around():
    boxes = drawn_boxes(100)
    assert encode(boxes)[:, :, 0].eq(0).all()
    assert decode(encode(boxes), first_boxes(boxes)).allclose(boxes, atol=1e-4)
    assert box_iou(decode(encode(boxes), first_boxes(boxes)), boxes).min() > 0.999


def test_sides_count_as_at_least_one_pixel():
    boxes = torch.tensor([[[[5.0, 5, 5, 5.5], [5, 5, 7, 5]]]])
    assert encode(boxes)[0, 0, 1].tolist() == pytest.approx([1, -0.25, math.log(2), 0])


def test_loss_by_hand():
    encoded, targets = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    encoded[0, 0, 0] = torch.tensor([0.5, 2, 0, -3])  # 0.125 + 1.5, 0 + 2.5
    targets[0, 0, 1] = torch.tensor([1, 0, 0.2, 0])  # 0.5, 0.02
    loss = tracking_loss(encoded, targets)
    assert float(loss['loss_center']) == pytest.approx((1.625 + 0.5) / 2)
    assert float(loss['loss_size']) == pytest.approx((2.5 + 0.02) / 2)
    assert float(loss['loss']) == pytest.approx((4.125 + 0.52) / 2)


def test_loss_averages_over_clips_patches_and_frames():
    generator = torch.Generator().manual_seed(3)
    encoded, targets = (5 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    total = 0.0
    for error in (encoded - targets).abs().flatten().tolist():
        total += error - 0.5 if error > 1 else 0.5 * error ** 2
    assert float(tracking_loss(encoded, targets)['loss']) == pytest.approx(total / (2 * 3 * 4), rel=1e-5)


def test_score_of_perfect_and_of_no_predictions():
    model, boxes = ctp(), drawn_boxes(500)
    perfect = model.score(encode(boxes) / STDS, boxes)
    assert perfect['loss'] == pytest.approx(0, abs=1e-6) and perfect['iou'] == pytest.approx(1, abs=1e-4)
    nothing = model.score(torch.zeros(500, 3, 16, 4), boxes)
    assert nothing['loss'] == nothing['zero_loss'] == perfect['zero_loss'] == pytest.approx(22.5, abs=1.5)
    still = box_iou(boxes[:, :, :1].expand_as(boxes), boxes).mean()
    assert nothing['iou'] == pytest.approx(float(still), abs=1e-4) and 0.2 < nothing['iou'] < 0.8


def test_iou_by_hand():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [2, 2, 2, 2]])
    others = torch.tensor([[2.0, 0, 6, 4], [0, 0, 4, 4], [5, 5, 6, 6], [2, 2, 2, 2]])
    assert box_iou(boxes, others).tolist() == pytest.approx([1 / 3, 1, 0, 0])


class Fixed(PastePatches):
    """Pastes into given boxes."""

    def draw(self, frames, width, height, draws):
        return self.boxes


def of_boxes(boxes, side):
    augment, samples = Fixed(), {}
    object.__setattr__(augment, 'boxes', boxes)
    augment(batch(len(boxes), boxes.shape[2], side)['inputs'], samples, Draws(range(len(boxes))))
    return samples['target']


def test_targets_do_not_depend_on_the_size_of_the_crop():
    boxes = Trajectories().draw(8, 56, 56, Draws(range(4)))
    small, large = of_boxes(boxes, 56), of_boxes(2 * boxes, 112)
    assert large.equal(2.0 * boxes) and small.equal(large)


def test_query_boxes_are_pixels_of_the_crop(monkeypatch):
    model, seen = ctp(clip_length=8).eval(), []
    monkeypatch.setattr(model.head, 'forward', lambda features, queries: seen.append(queries))
    prepared = model.data_preprocessor(batch(2, 8, 56))
    model.predict(**prepared)
    assert seen[0].equal(first_boxes(prepared['data_samples']['target']) / 2)
    assert seen[0].equal(seen[0].round()) and seen[0].max() <= 56


def test_the_query_and_not_the_rest_of_the_way_is_told():
    model = ctp(clip_length=8).eval()
    prepared = model.data_preprocessor(batch(2, 8, 32))
    with torch.no_grad():
        first = model(**prepared, mode='predict')
        prepared['data_samples']['target'][:, :, 1:] = 0
        assert model(**prepared, mode='predict').equal(first)
        prepared['data_samples']['target'][:, :, 0] = torch.tensor([0.0, 0, 112, 112])
        assert not model(**prepared, mode='predict').equal(first)


@pytest.mark.parametrize(('frames', 'clip_length'), [(16, 8), (8, 16), (4, 16)])
def test_clips_of_another_length_are_refused(frames, clip_length):
    model = ctp(clip_length=clip_length)
    with pytest.raises(ConfigError, match='clip_length'):
        model(**model.data_preprocessor(batch(2, frames, 32)), mode='loss')


def test_several_clips_a_sample_are_refused():
    with pytest.raises(ConfigError, match='takes one uint8 clip a sample, not 3'):
        ctp().data_preprocessor(batch(2, 8, 32, clips=3))


def test_a_backbone_of_another_output_length():
    model = ctp(clip_length=8, feature_length=2)
    with pytest.raises(ConfigError, match='length 2, not 1'):
        model(**model.data_preprocessor(batch(2, 8, 32)), mode='loss')
