"""What a contact sheet shows: the model's own pixels, and captions that are true."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fedvssl.cli import run_tool
from fedvssl.config import from_dict
from fedvssl.data.annotations import UNLABELLED
from fedvssl.data.dataset import REPLACEMENTS
from fedvssl.data.description import Description, describe
from fedvssl.data.draws import Draws
from fedvssl.data.loader import collate
from fedvssl.data.sampling import SpeedSampler, VCOPSampler
from fedvssl.errors import BadVideosError, ConfigError, StorageError
from fedvssl.models import MoCo, PastePatches, Recognizer, Rotate90
from fedvssl.report import sheet as constants
from fedvssl.report.browsing import Browser, Sight, block, browse
from fedvssl.report.sheet import Block, Layout, Row, contact_sheet, draw_row, lay_out, wrapped, write_png
from tests.conftest import tiny_finetuning_values, tiny_values

TOOL = Path(__file__).parent.parent.parent / 'tools' / 'browse.py'
GAP = constants.GAP


def vcop(root):
    return tiny_values(root)


def speed(root):
    values = tiny_values(root)
    values['model'] |= dict(type='Speed', head=dict(type='mmaction.I3DHead', num_classes=7))
    values['data']['train']['sampler'] = dict(type='SpeedSampler', clip_length=4)
    return values


def ctp(root):
    values = tiny_values(root)
    augments = [dict(type='PastePatches'), dict(type='DynamicBrightness', p=1.0, delta=30)]
    values['model'] = dict(type='CtP', backbone=dict(type='R3D18', base_channels=4, spatial_strides=(1, 2, 2, 1)),
                           head=dict(type='CtPHead', clip_length=4),
                           data_preprocessor=dict(type='ClipPreprocessor', augments=augments))
    values['data']['train']['sampler'] = dict(type='RandomClipSampler', clip_length=4, stride=1)
    return values


def rot3d(root):
    values = tiny_finetuning_values(root, num_classes=4)
    values['model'] |= dict(type='Rot3D', data_preprocessor=dict(type='ClipPreprocessor',
                                                                 augments=[dict(type='Rotate90')]))
    return values


def moco(root):
    values = tiny_values(root)
    values['model'] |= dict(type='MoCo', head=dict(type='MoCoHead', out_channels=4), queue_size=4)
    values['data']['train'] |= dict(sampler=dict(type='RandomClipSampler', clip_length=4, num_clips=2),
                                    independent_clips=True)
    return values


TASKS = dict(VCOP=vcop, Speed=speed, CtP=ctp, Rot3D=rot3d, MoCo=moco, Recognizer=tiny_finetuning_values)


def places(sheet, tile):
    """Returns the left upper corners at which a picture is found in the sheet."""
    height, width = tile.shape[:2]
    corners = np.argwhere((sheet[:-height + 1, :-width + 1] == tile[0, 0]).all(axis=-1))
    return [(y, x) for y, x in corners.tolist() if (sheet[y:y + height, x:x + width] == tile).all()]


def enlarged(frame, factor):
    return np.kron(frame, np.ones((factor, factor, 1), np.uint8))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=(*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize('task', TASKS)
def test_the_sheet_shows_what_the_network_gets(task, tiny_videos):
    config = from_dict(TASKS[task](tiny_videos))
    browser = Browser(config)
    sights = browser.samples(2)
    assert len({sight.path for sight in sights}) == 2

    index = {video.path: number for number, video in enumerate(browser.dataset.videos)}
    batch = collate([browser.dataset.load(index[sight.path], config.seed, 'browse') for sight in sights])
    preprocessor = browser.model.data_preprocessor
    x_BMCTHW = preprocessor(batch)['inputs']
    pixels = ((x_BMCTHW * preprocessor.std + preprocessor.mean).permute(0, 1, 3, 4, 5, 2)).numpy()
    sheet = contact_sheet(browser.header('x', sights), [block(sight) for sight in sights])
    for sight, clips_MTHWC in zip(sights, pixels, strict=True):
        np.testing.assert_allclose(sight.clips, clips_MTHWC, atol=1e-3)
        np.testing.assert_allclose(sight.pixels, clips_MTHWC, atol=0.5 + 1e-3)
        frames = sight.pixels.reshape(-1, *sight.pixels.shape[2:])
        assert all(places(sheet, enlarged(frame, 8)) for frame in frames)


@pytest.mark.parametrize('task', TASKS)
def test_rows_and_captions(task, tiny_videos):
    browser = Browser(from_dict(TASKS[task](tiny_videos)))
    [sight] = browser.samples(1)
    drawn = block(sight)
    labels = dict(MoCo=['query', 'key'], CtP=['', 'boxes']).get(task, [''])
    if task == 'VCOP':
        labels = [f'clip {place}' for place in drawn.caption.split('(')[0].split()[2:]]
        assert sorted(labels) == ['clip 0', 'clip 1', 'clip 2']
    assert [row.label for row in drawn.rows] == labels and drawn.name == sight.path
    begin = dict(VCOP='clip order ', Speed='stride ', CtP='3 moving patches; ', Rot3D='rotated by ',
                 MoCo='two clips', Recognizer='label ')[task]
    assert drawn.caption.startswith(begin)
    header = browser.header('my.py', [sight])
    assert header[0] == "my.py   train: split 'train'   seed 7"
    assert header[1] == f'{task} on R3D18   {len(sight.clips)} x 4 x 16 x 16 (clips x frames x height x width)'


def test_the_label_of_a_video_is_the_lists(tiny_videos):
    browser = Browser(from_dict(tiny_finetuning_values(tiny_videos)))
    labels = {video.path: video.label for video in browser.dataset.videos}
    assert all(sight.description.caption == f'label {labels[sight.path]}, counted from 0'
               for sight in browser.samples(5))


def said(maker, target):
    return describe(np.asarray(target), [object(), maker]).caption


def test_targets_in_words():
    assert [said(VCOPSampler(), target) for target in (0, 4)] == ['clip order 0 1 2 (class 0)',
                                                                  'clip order 2 0 1 (class 4)']
    assert [said(SpeedSampler(), target) for target in (1, 3, 6)] == ['stride -2 (class 1)', 'stride 0 (class 3)',
                                                                      'stride 4 (class 6)']
    assert [said(Rotate90(), target) for target in (1, 3)] == ['rotated by 90 degrees counter-clockwise (class 1)',
                                                               'rotated by 270 degrees counter-clockwise (class 3)']
    assert Recognizer.describe(None, np.asarray(3)).caption == 'label 3, counted from 0'
    assert Recognizer.describe(None, np.asarray(UNLABELLED)).caption == 'no label'
    assert MoCo.describe(None, np.asarray(0)).clips == ('query', 'key')
    assert describe(np.asarray(5), [object()]) == Description('target 5')


def test_whoever_sets_the_target_last_describes_it():
    assert describe(np.asarray(1), [Rotate90(), SpeedSampler()]).caption.startswith('rotated')


@pytest.mark.parametrize('num_clips', [2, 3, 4])
def test_the_clip_order_recovers_the_order_of_the_video(num_clips):
    sampler = VCOPSampler(clip_length=4, num_clips=num_clips, gap=2)
    for seed in range(60):
        plan = sampler(40, np.random.default_rng(seed))
        description = describe(np.asarray(plan.target), [sampler])
        order = [int(word) for word in description.caption.split('(')[0].split()[2:]]
        assert description.clips == tuple(f'clip {clip}' for clip in order)
        starts = plan.indices[np.argsort(order), 0]
        assert (np.diff(starts) == 6).all()


def test_boxes_of_a_target_are_those_that_were_pasted():
    clips, samples, augment = torch.zeros(1, 1, 4, 48, 32, 3, dtype=torch.uint8), {}, PastePatches()
    augment(clips, samples, Draws([5]))
    pasted = augment.draw_patches(clips, Draws([5])).boxes[0].numpy()
    description = describe(samples['target'][0].numpy(), [augment])
    rows = block(Sight('a.mp4', clips[0].numpy(), description)).rows
    assert [row.boxes is None for row in rows] == [True, False]
    np.testing.assert_allclose(rows[1].boxes, pasted, atol=1e-4)


def test_boxes_are_drawn_on_their_outermost_pixels():
    boxes = np.array([[[1, 2, 4, 6], [2, 2, 5, 6]], [[10, 9, 15, 15], [10, 9, 15, 15]]], float)
    picture = draw_row(Row('', np.zeros((2, 16, 16, 3), np.uint8), boxes), Layout(range(2), 4))
    assert picture.shape == (64, 64 + GAP + 64, 3)
    for t, left in enumerate((0, 64 + GAP)):
        tile = picture[:, left:left + 64]
        drawn = (4 * boxes[:, t]).astype(int).tolist()
        for color, (x1, y1, x2, y2) in zip(constants.TRACK_COLORS, drawn, strict=False):
            mask = (tile == color).all(axis=-1)
            outline = np.zeros((64, 64), bool)
            outline[y1:y2, x1:x2] = True
            outline[y1 + 1:y2 - 1, x1 + 1:x2 - 1] = False
            assert mask[outline].all()
            assert not tile[y1:y2, x1 - 1].any() and not tile[y1:y2, x2].any()
            assert mask[(y1 + y2) // 2 - 1, (x1 + x2) // 2 - 1]  # the centre
    assert (boxes[0, 0] != boxes[0, 1]).any()


def test_the_path_holds_the_centres_so_far():
    boxes = np.array([[[8 * t, 4, 8 * t + 4, 8] for t in range(4)]], float)
    row = Row('', np.zeros((4, 16, 32, 3), np.uint8), boxes)
    tiles = np.split(draw_row(row, Layout(range(4), 4)), [128 + GAP, 2 * (128 + GAP), 3 * (128 + GAP)], axis=1)
    for t, tile in enumerate(tiles):
        ink = tile[23, :128].any(axis=-1)  # the line of the centres
        assert ink[7:32 * t + 8].all() and not ink[32 * t + 16:].any()


def test_rows_without_boxes_are_left_alone():
    frames = noise(3, 5, 7)
    picture = draw_row(Row('', frames, None), Layout(range(3), 2))
    for t in range(3):
        np.testing.assert_array_equal(picture[:, t * (14 + GAP):t * (14 + GAP) + 14], enlarged(frames[t], 2))


@pytest.mark.parametrize(('frames', 'height', 'width', 'room', 'shown', 'factor'), [
    (8, 32, 32, 1800, range(8), 4),  # 128 px
    (16, 32, 32, 1800, range(16), 3),  # 4 would take 2093 px
    (8, 56, 56, 1800, range(8), 2),
    (16, 112, 112, 1837, range(16), 1),  # as published: exactly 16 * 112 + 15 * GAP
    (16, 112, 112, 1836, range(0, 16, 2), 1),
    (40, 32, 32, 1800, range(0, 40, 2), 2),
    (100, 32, 32, 1800, range(0, 100, 4), 2),
    (3, 16, 16, 10, range(0, 3, 3), 4),  # at least one
    (8, 128, 170, 1800, range(8), 1),
])
def test_layout(frames, height, width, room, shown, factor):
    assert lay_out(frames, height, width, room) == Layout(shown, factor)


def test_all_published_frames_fit_beside_a_label():
    row = Row('boxes', noise(16, 112, 112))
    sheet = contact_sheet(['x'], [Block('v.mp4', 'c', [row])])
    assert sheet.shape[1] <= constants.MAX_WIDTH
    assert all(len(places(sheet, frame)) == 1 for frame in row.frames)


def test_rows_and_samples_lie_below_each_other_in_their_order():
    clips = noise(4, 4, 16, 16)
    blocks = [Block('one.mp4', 'one clip', [Row('', clips[0])]),
              Block('three.mp4', 'three clips', [Row(f'clip {m}', clips[m]) for m in (1, 2, 3)])]
    sheet = contact_sheet(['header'], blocks)
    found = np.array([[places(sheet, enlarged(frame, 8)) for frame in clip] for clip in clips])
    assert found.shape == (4, 4, 1, 2)  # each tile once
    y, x = found[:, :, 0, 0], found[:, :, 0, 1]
    assert (y == y[:, :1]).all() and (np.diff(x, axis=1) == 128 + GAP).all() and (x == x[:1]).all()
    between = np.diff(y[:, 0])
    assert between[1] == between[2] == 128 + GAP < between[0]  # a sample's clips are together
    assert sheet.shape[1] == constants.MIN_WIDTH or sheet.shape[1] > x.max() + 128


def test_a_subset_of_frames_is_even_and_said(monkeypatch):
    row = Row('', noise(64, 16, 16))
    sheet = contact_sheet(['x'], [Block('v.mp4', 'c', [row])])
    shown = [t for t in range(64) if places(sheet, enlarged(row.frames[t], 4))]
    assert shown == list(range(0, 64, 3)) and sheet.shape[1] <= constants.MAX_WIDTH
    texts = []
    monkeypatch.setattr(cv2, 'putText', lambda canvas, text, *rest: texts.append(text))
    contact_sheet(['x'], [Block('v.mp4', 'c', [row])])
    assert 'c; showing frames 0, 3, 6, ... of 64' in texts


def test_text_is_broken_and_never_wider_than_its_place():
    def width(text):
        return cv2.getTextSize(text, constants.FONT, constants.FONT_SCALE, 1)[0][0]

    words = ' '.join(f'word{number}' for number in range(40))
    lines = wrapped(words, 300)
    assert ' '.join(lines) == words and len(lines) > 3 and max(map(width, lines)) <= 300
    path = '/'.join(f'directory{number}' for number in range(30)) + '/video.mp4'
    [line] = wrapped(path, 300)
    assert line.startswith('...') and line.endswith('/video.mp4') and width(line) <= 300
    assert wrapped('a   b', 300) == ['a   b']


def test_a_seed_chooses_videos_and_clips(tiny_videos):
    config = from_dict(tiny_values(tiny_videos))

    def seen(seed):
        return [(sight.path, sight.clips.tobytes()) for sight in Browser(config, seed=seed).samples(4)]

    assert seen(None) == seen(7) != seen(8)
    assert {path for path, _ in seen(7)} != {path for path, _ in seen(8)}


def test_phase_test_shows_the_clips_of_the_evaluation(tiny_videos):
    browser = Browser(from_dict(tiny_values(tiny_videos)), 'test')
    index = {video.path: number for number, video in enumerate(browser.dataset.videos)}
    sights = browser.samples(100)
    assert len(sights) == 8 and {sight.path for sight in sights} == set(index)  # all there are
    assert all(path.startswith('test/') for path in index)
    for sight in sights:
        np.testing.assert_array_equal(sight.clips, browser.dataset.load(index[sight.path], 7, 'test')['inputs'])


def spoil(browser, numbers):
    """Makes every video but those with the given numbers unreadable."""
    browser.dataset.videos = [video if number in numbers else replace(video, path=f'missing{number}.mp4')
                              for number, video in enumerate(browser.dataset.videos)]


def test_unreadable_videos_are_left_out_and_named(tiny_videos, caplog):
    browser = Browser(from_dict(tiny_values(tiny_videos)))
    good = range(0, 16, 2)
    names = {browser.dataset.videos[number].path for number in good}
    spoil(browser, good)
    sights = browser.samples(8)
    assert {sight.path for sight in sights} == names
    line = browser.header('x', sights)[-1]
    assert line.startswith('left out, because unreadable: missing')
    assert line.count('missing') == len(browser.dataset.bad)
    assert 'unreadable video' in caplog.text


def test_too_many_unreadable_videos_are_an_error(tiny_videos):
    browser = Browser(from_dict(tiny_values(tiny_videos)))
    spoil(browser, ())
    with pytest.raises(BadVideosError, match=rf'^{REPLACEMENTS + 1} videos in a row are unreadable; first .*missing'):
        browser.samples(1)


def test_wrong_arguments_are_named(tiny_videos):
    config = from_dict(tiny_values(tiny_videos))
    with pytest.raises(ConfigError, match='^samples: must be at least 1, not 0'):
        Browser(config).samples(0)
    with pytest.raises(ConfigError, match="^phase: unknown phase 'tset'; did you mean 'test'"):
        Browser(config, 'tset')
    with pytest.raises(ConfigError, match="^data.test: phase 'test' needs it"):
        Browser(replace(config, data=replace(config.data, test=None)), 'test')


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    picture, file = noise(20, 30), tmp_path / 'new' / 'sheet.png'
    write_png(file, picture)
    np.testing.assert_array_equal(cv2.imread(str(file))[..., ::-1], picture)
    before = file.read_bytes()

    def full(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(StorageError, match=r'sheet\.png: could not be written: No space left'):
        write_png(file, noise(20, 30, seed=1))
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written_to(tmp_path, tiny_videos):
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='file/sheet.png: could not be written'):
        browse(from_dict(tiny_values(tiny_videos)), 'x', tmp_path / 'file' / 'sheet.png', count=1)


@pytest.fixture
def tool(tiny_videos, tmp_path, monkeypatch):
    """Runs tools/browse.py in this process on the config of CtP; returns its exit code."""
    config = tmp_path / 'run.py'
    config.write_text(''.join(f'{key} = {value!r}\n' for key, value in ctp(tiny_videos).items()))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['browse.py', str(config), *map(str, arguments)])
        return run_tool(runpy.run_path(str(TOOL))['main'])

    return run


def test_the_tool_writes_the_same_sheet_as_the_library(tool, tiny_videos, tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    assert tool('--out', out, '--samples', 3, '--seed', 5, '--cfg-options', 'model.backbone.base_channels=2') == 0
    assert capsys.readouterr() == (f'{out}: 3 videos\n', '')
    browse(from_dict(ctp(tiny_videos)), str(tmp_path / 'run.py'), tmp_path / 'other.png', 'train', 3, 5)
    assert out.read_bytes() == (tmp_path / 'other.png').read_bytes()


def test_the_tool_refuses(tool, tmp_path, capsys):
    assert tool('--out', tmp_path / 'x.png', '--samples', 0) == 2
    assert capsys.readouterr().err == 'error: samples: must be at least 1, not 0\n'
    with pytest.raises(SystemExit, match='2'):
        tool('--phase', 'tset')
    assert not (tmp_path / 'x.png').exists()
