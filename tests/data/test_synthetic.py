"""The generated set: real files, deterministic, learnable in time and not from single frames."""

import csv
from hashlib import sha256

import numpy as np
import pytest

from fedvssl.data.synthetic import (
    CLASSES,
    EVENT_LENGTH,
    EVENT_PERIOD,
    GROUPS,
    HEIGHT,
    WIDTH,
    draw_motion,
    entries,
    generate,
    render,
)
from fedvssl.errors import StorageError
from fedvssl.video import open_video


def test_files_and_annotations(tiny_videos):
    with (tiny_videos / 'annotations.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ['path', 'label', 'group', 'split'] and len(rows) == 24
    assert {row['path'].rsplit('.')[1] for row in rows} == {'mp4', 'avi'}
    for index, row in enumerate(rows):
        with open_video(tiny_videos / row['path']) as reader:
            expected = render(index, int(row['label']), int(row['group'][4:]), seed=3)
            assert len(reader) == len(expected)
            decoded = reader.get([0, len(reader) // 2, len(reader) - 1])
        error = np.abs(decoded.astype(int) - expected[[0, len(expected) // 2, -1]]).mean()
        assert decoded.shape[1:] == (HEIGHT, WIDTH, 3) and error < 8


def test_generation_is_deterministic(tiny_videos, tmp_path):
    generate(tmp_path, num_train=16, num_test=8, seed=3, workers=1)
    for path in tmp_path.rglob('*.*'):
        same = tiny_videos / path.relative_to(tmp_path)
        assert sha256(path.read_bytes()).digest() == sha256(same.read_bytes()).digest(), path
    assert not np.array_equal(render(0, 0, 0, seed=3), render(0, 0, 0, seed=4))


def test_classes_groups_and_containers_are_balanced_and_independent():
    rows = list(entries(240, 400))
    for split, count in (('train', 240), ('test', 400)):
        chosen = [row for row in rows if row.split == split]
        labels = np.array([row.label for row in chosen])
        assert len(chosen) == count and np.ptp(np.bincount(labels)) <= 1
        for values in ([row.group for row in chosen], [row.path.endswith('mp4') for row in chosen]):
            table = np.array([[np.sum((labels == label) & (np.array(values) == value)) for value in sorted(set(values))]
                              for label in range(len(CLASSES))])
            assert np.ptp(table) <= 2, table
    assert {row.group for row in rows} == set(range(GROUPS))


def nearest_neighbour_accuracy(train, train_labels, test, test_labels):
    distance = (test ** 2).sum(1)[:, None] - 2 * test @ train.T + (train ** 2).sum(1)[None]
    return float((train_labels[distance.argmin(1)] == test_labels).mean())


def ridge_accuracy(train, train_labels, test, test_labels, penalty):
    mean, scale = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / scale, (test - mean) / scale
    targets = np.eye(len(CLASSES))[train_labels] - 1 / len(CLASSES)
    weights = train.T @ np.linalg.solve(train @ train.T + penalty * len(train) * np.eye(len(train)), targets)
    return float(((test @ weights).argmax(1) == test_labels).mean())


@pytest.fixture(scope='module')
def default_set(tmp_path_factory):
    """Frames, as decoded from the files, and labels of the default set's videos."""
    root, rows = tmp_path_factory.mktemp('default'), list(entries(240, 400))
    generate(root)
    videos = []
    for row in rows:
        with open_video(root / row.path) as reader:
            videos.append(reader.get(range(len(reader))))
    return videos, np.array([row.label for row in rows])


def single_frames(videos, position):
    """Returns one small frame a video (n, features): its pixels, and statistics that position cannot blur."""
    frames = np.stack([video[int(position * (len(video) - 1))] for video in videos]).astype(np.float32)
    small = frames.reshape(len(frames), HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean((2, 4)).reshape(len(frames), -1)
    gradients = [np.abs(np.diff(frames, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    histograms = [np.stack([np.histogram(frame[..., c], 8, (0, 256))[0] for c in range(3)]).ravel() / 100
                  for frame in frames]
    return small / 255, np.hstack([frames.mean((1, 2)), frames.std((1, 2)), *gradients, np.array(histograms)])


@pytest.mark.parametrize('position', [0.0, 0.5, 1.0])
def test_a_single_frame_does_not_give_the_class_away(default_set, position):
    """Probes on one frame a video stay within 5 points of chance."""
    videos, labels = default_set
    chance = 1 / len(CLASSES)
    for features in single_frames(videos, position):
        split = features[:240].astype(np.float64), labels[:240], features[240:].astype(np.float64), labels[240:]
        assert nearest_neighbour_accuracy(*split) < chance + 0.05
        assert ridge_accuracy(*split, penalty=1.0) < chance + 0.05


def test_motion_does_give_the_class_away(default_set):
    """The same probe on motion statistics is far above chance, so the set has something to learn."""
    videos, labels = default_set
    features = []
    for video in videos:
        grey = video.astype(np.float32).mean(3)
        dt, dx, dy = np.diff(grey, axis=0)[:, :, :], np.gradient(grey, axis=2)[:-1], np.gradient(grey, axis=1)[:-1]
        y, x = np.mgrid[-1:1:HEIGHT * 1j, -1:1:WIDTH * 1j]
        terms = (dt ** 2, dt * dx, dt * dy, dt * (x * dy - y * dx), dx ** 2, dy ** 2)
        features.append(np.concatenate([[part.mean() for part in np.array_split(term, 3)] for term in terms]))
    features = np.array(features)
    motion = np.sign(features) * np.log1p(np.abs(features))
    accuracy = ridge_accuracy(motion[:240], labels[:240], motion[240:], labels[240:], penalty=0.01)
    assert accuracy > 1 / len(CLASSES) + 0.15


def test_every_video_speeds_up(default_set):
    """So that clip order can be told: the frames change more from third to third."""
    videos, _ = default_set
    change = np.array([[np.abs(np.diff(part.astype(np.int16), axis=0)).mean() for part in np.array_split(video, 3)]
                       for video in videos[:120]])
    assert np.mean((change[:, 0] < change[:, 1]) & (change[:, 1] < change[:, 2])) > 0.9


def test_events_differ_between_classes_in_their_order_alone():
    random = np.random.default_rng(0)
    motions = {name: draw_motion(label, random) for label, name in enumerate(CLASSES)}
    assert (motions['swell_flash'].swell_at, motions['swell_flash'].flash_at) == (0, EVENT_LENGTH)
    assert (motions['flash_swell'].swell_at, motions['flash_swell'].flash_at) == (EVENT_LENGTH, 0)
    assert all(abs(motion.swell_at - motion.flash_at) == EVENT_PERIOD // 2 for name, motion in motions.items()
               if '_' not in name)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='file'):
        generate(tmp_path / 'file', 8, 8)
