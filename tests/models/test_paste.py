"""CtP's pasting against the frame-by-frame reference in OpenCV, and what must hold to the bit.

OpenCV resizes uint8 in fixed point and the reference blends in double precision before it cuts off, so that single grey
levels differ: never by more than 1, in 2 % of a clip's values on average and in 5 % at most.
"""

import cv2
import numpy as np
import pytest
import torch

from fedvssl.benchmarks.ctp_reference import RECTANGLE, RHOMBUS, paste_reference
from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models.augments.patches import PastePatches, Patches, paste

SIZES = [(16, 112, 112), (8, 56, 56), (8, 32, 40)]


def smooth_clips(batch, frames, height, width, seed=0):
    """Clips uint8 (B, T, H, W, 3) of blurred colours."""
    coarse = np.random.default_rng(seed).integers(256, size=(batch * frames, 6, 7, 3), dtype=np.uint8)
    fine = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in coarse]
    return torch.from_numpy(np.stack(fine)).view(batch, frames, height, width, 3)


def noise_clips(batch, frames, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, frames, height, width, 3), generator=generator, dtype=torch.uint8)


def drawn_patches(clips, seeds):
    return PastePatches().draw_patches(clips[:, None], Draws(seeds))


def by_reference(clips, patches):
    pasted = [paste_reference(list(clip.numpy()), **{name: value[b].numpy() for name, value in vars(patches).items()})
              for b, clip in enumerate(clips)]
    return torch.from_numpy(np.array(pasted))


def of_boxes(boxes, **changes):
    """Patches with boxes (B, K, T, 4), opaque rectangles cut from frame 0 and visible everywhere unless changed."""
    boxes = torch.tensor(boxes)
    patches, spots = boxes.shape[:2], boxes.shape[:3]
    values = dict(boxes=boxes, source=torch.zeros(patches, dtype=torch.int64), shape=torch.full(patches, RECTANGLE),
                  edge=torch.full(patches, 0.5).double(), opacity=torch.ones(spots).double(),
                  visible=torch.ones(spots, dtype=torch.bool))
    return Patches(**values | changes)


def differences(clips, patches):
    return (paste(clips, patches).int() - by_reference(clips, patches).int()).abs()


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('content', [smooth_clips, noise_clips])
def test_pasting_equals_the_reference(size, content):
    means = []
    for seed in range(3):
        clips = content(4, *size, seed=seed)
        found = differences(clips, drawn_patches(clips, range(10 * seed, 10 * seed + 4)))
        assert found.max() <= 1
        means += found.double().flatten(1).mean(dim=1).tolist()
    assert max(means) < 0.05 and sum(means) / len(means) < 0.025


@pytest.mark.parametrize('shape', range(3))
@pytest.mark.parametrize('edge', [0.5, 0.3, 0.45])
def test_every_shape_and_edge_with_odd_boxes(shape, edge):
    """One pixel; a row; a column; against all four borders; the full picture; and back to a pixel."""
    way = [[3, 4, 16, 15], [0, 0, 1, 1], [0, 7, 20, 8], [9, 0, 10, 16], [0, 5, 6, 11], [13, 2, 20, 9], [4, 0, 9, 3],
           [2, 12, 12, 16], [0, 0, 20, 16], [19, 15, 20, 16]]
    clips = noise_clips(len(way), len(way), 16, 20)
    patches = of_boxes([[way]] * len(way), source=torch.arange(len(way))[:, None],
                       shape=torch.full((len(way), 1), shape), edge=torch.full((len(way), 1), edge).double(),
                       opacity=torch.full((len(way), 1, len(way)), 0.9).double())
    found = differences(clips, patches)
    assert found.max() <= 1 and found.double().mean() < 0.06
    assert not paste(clips, patches).equal(clips)


def test_whole_pictures_can_be_pasted():
    clips = noise_clips(1, 3, 24, 32)
    pasted = paste(clips, of_boxes([[[[0, 0, 32, 24]] * 3]], source=torch.tensor([[2]])))
    assert pasted.equal(clips[:, 2:].expand(-1, 3, -1, -1, -1))


def test_the_same_box_everywhere_is_an_exact_copy():
    clips = noise_clips(1, 4, 24, 32)
    pasted = paste(clips, of_boxes([[[[5, 3, 18, 14]] * 4]], source=torch.tensor([[1]])))
    expected = clips.clone()
    expected[:, :, 3:14, 5:18] = clips[:, 1:2, 3:14, 5:18]
    assert pasted.equal(expected)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_frames_that_show_no_patch_are_untouched(size):
    clips = noise_clips(3, *size)
    drawn = drawn_patches(clips, range(3))
    hidden = Patches(**{**vars(drawn), 'visible': torch.zeros_like(drawn.visible)})
    assert paste(clips, hidden).equal(clips)
    visible = torch.zeros_like(drawn.visible)
    visible[1, :, 2] = True
    before = clips.clone()
    pasted = paste(clips, Patches(**{**vars(drawn), 'visible': visible}))
    assert clips.equal(before), 'pasting must not change its input'
    assert pasted[[0, 2]].equal(clips[[0, 2]])
    others = [frame for frame in range(size[0]) if frame != 2]
    assert pasted[1, others].equal(clips[1, others]) and not pasted[1, 2].equal(clips[1, 2])


def test_pixels_outside_of_the_boxes_are_untouched():
    clips = noise_clips(4, 8, 56, 56)
    patches = drawn_patches(clips, range(4))
    outside = torch.ones(clips.shape[:4], dtype=torch.bool)
    for b, k, t in patches.visible.nonzero().tolist():
        x1, y1, x2, y2 = patches.boxes[b, k, t].tolist()
        outside[b, t, y1:y2, x1:x2] = False
    assert paste(clips, patches)[outside].equal(clips[outside])


def test_frame_0_and_the_source_frame_always_show_the_patch():
    visible = Patches.draw(torch.tensor([0, 0, 9, 9]).expand(200, 3, 16, 4), (1.0,), 0.0, Draws(range(200)))
    frames = torch.arange(16)
    assert visible.visible.equal((frames == 0) | (frames == visible.source[..., None]))


def test_small_patches_go_on_top():
    clips = noise_clips(1, 2, 16, 16)
    boxes = [[[[0, 0, 3, 3], [8, 8, 11, 11]], [[4, 4, 12, 12], [6, 6, 14, 14]]]]
    both, turned = paste(clips, of_boxes(boxes)), paste(clips, of_boxes([boxes[0][::-1]]))
    assert both.equal(turned)
    assert both[0, 1, 8:11, 8:11].equal(clips[0, 0, 0:3, 0:3])
    assert both[0, 1, 6:8, 6:14].equal(clips[0, 0, 4:6, 4:12])


def test_patches_are_cut_out_before_anything_is_pasted():
    clips = noise_clips(1, 1, 16, 16)
    boxes = [[[[0, 0, 8, 8]], [[2, 2, 6, 6]]]]
    assert paste(clips, of_boxes(boxes)).equal(clips)
    assert paste(clips, of_boxes(boxes, opacity=torch.full((1, 2, 1), 0.9).double())).sub(clips).abs().max() <= 1


def test_a_sample_does_not_depend_on_the_others():
    clips = smooth_clips(5, 8, 56, 56)
    together = paste(clips, drawn_patches(clips, range(5)))
    for place in range(5):
        alone = clips[place:place + 1]
        assert paste(alone, drawn_patches(alone, [place]))[0].equal(together[place])
    order = [3, 0, 4]
    assert paste(clips[order], drawn_patches(clips[order], order)).equal(together[order])


def test_clips_of_any_memory_order_are_taken():
    clips = noise_clips(2, 8, 32, 40)
    patches = drawn_patches(clips, range(2))
    planes = clips.permute(4, 0, 1, 2, 3).contiguous().permute(1, 2, 3, 4, 0)
    assert paste(planes, patches).equal(paste(clips, patches))
    backwards = clips.flip(3).flip(3)
    assert paste(backwards, patches).equal(paste(clips, patches))


def test_nothing_but_the_clips_own_seed_decides():
    augment = PastePatches()
    clips = noise_clips(3, 8, 32, 32)[:, None]
    results = []
    for seeds in ([1, 2, 3], [1, 2, 3], [1, 9, 3]):
        samples = {}
        results.append((augment(clips, samples, Draws(seeds)), samples['target']))
    (first, target), (again, same), (other, another) = results
    assert first.equal(again) and target.equal(same)
    assert other[[0, 2]].equal(first[[0, 2]]) and another[[0, 2]].equal(target[[0, 2]])
    assert not other[1].equal(first[1])
    assert first.shape == clips.shape and first.dtype == torch.uint8
    assert target.shape == (3, 3, 8, 4) and target.dtype == torch.float32


@pytest.mark.parametrize('clips', [torch.zeros(2, 2, 4, 16, 16, 3, dtype=torch.uint8), torch.zeros(2, 1, 4, 16, 16, 3)])
def test_several_clips_or_floats_are_refused(clips):
    with pytest.raises(ConfigError, match='PastePatches: takes one uint8 clip a sample'):
        PastePatches()(clips, {}, Draws([1, 2]))


@pytest.mark.parametrize('frames', [1, 2, 3])
def test_tiny_clips(frames):
    clips = noise_clips(6, frames, 9, 7)
    patches = drawn_patches(clips, range(6))
    low, high = patches.boxes[..., :2], patches.boxes[..., 2:]
    assert low.min() >= 0 and (high > low).all() and (high <= torch.tensor([7, 9])).all()
    assert differences(clips, patches).max() <= 1


def test_the_shape_is_the_patchs_own_and_not_the_clips():
    clips = torch.zeros(2, 2, 16, 16, 3, dtype=torch.uint8)
    clips[:, 0] = 100
    patches = of_boxes([[[[2, 2, 11, 11]] * 2]] * 2, shape=torch.tensor([[RECTANGLE], [RHOMBUS]]))
    pasted = paste(clips, patches)[:, 1, ..., 0]
    assert pasted[0, 2:11, 2:11].eq(100).all() and pasted[0].eq(100).sum() == 81
    distance = (torch.arange(9) - 4).abs() / 9
    assert pasted[1, 2:11, 2:11].eq(100).equal(distance[:, None] + distance < 0.5)


@pytest.mark.parametrize('wrong', [
    dict(key_probabilities=(0.5, 0.3)), dict(key_probabilities=()), dict(visibility=7), dict(visibility=-0.1),
    dict(velocity=-1), dict(growth=-0.1), dict(scale_jitter=-1), dict(scales=()), dict(ratios=(1, 0)),
    dict(num_patches=0)], ids=lambda wrong: str(*wrong.items()))
def test_arguments_out_of_range(wrong):
    name, = wrong
    with pytest.raises(ConfigError, match=f'PastePatches: {name}'):
        PastePatches(**wrong)
