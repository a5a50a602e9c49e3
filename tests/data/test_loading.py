"""Dataset and loader: named randomness, order, replacement of unreadable videos."""

import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fedvssl.config import from_dict
from fedvssl.data.annotations import Video
from fedvssl.data.dataset import build_dataset, list_digests, read_videos
from fedvssl.data.loader import ClipLoader
from fedvssl.errors import BadVideosError, DataListError
from fedvssl.video import open_video
from tests.conftest import tiny_values


def dataset(root: Path, replace_bad=True):
    data = from_dict(tiny_values(root)).data
    return build_dataset(data, data.train, read_videos(data, 'train'), replace_bad)


@pytest.fixture
def broken(tiny_videos, tmp_path):
    """A copy of the tiny set in which training video 5 is unreadable."""
    root = tmp_path / 'broken'
    shutil.copytree(tiny_videos, root)
    (root / 'train/00005.avi').write_bytes(b'nothing a decoder would know')
    return root


def test_samples(tiny_videos):
    sample = dataset(tiny_videos).load(3, 7, 'client', 1, 0)
    assert sample['inputs'].shape == (3, 4, 16, 16, 3) and sample['inputs'].dtype == np.uint8
    assert 0 <= sample['target'] < 6


def test_the_name_decides_the_sample(tiny_videos):
    videos = dataset(tiny_videos)
    first, same, other = (videos.load(3, 7, 'client', number, 0) for number in (1, 1, 2))
    np.testing.assert_array_equal(first['inputs'], same['inputs'])
    assert not np.array_equal(first['inputs'], other['inputs'])


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_loader_workers_change_nothing(tiny_videos, workers):
    loader = ClipLoader(dataset(tiny_videos), batch_size=4, workers=workers)
    batches = list(loader.shuffled(np.arange(2, 12), 7, 0, 1, 0))
    reference = list(ClipLoader(loader.dataset, 4).shuffled(np.arange(2, 12), 7, 0, 1, 0))
    loader.close()
    assert len(batches) == 3 and all(batch['inputs'].shape[0] == 4 for batch in batches)
    for batch, expected in zip(batches, reference, strict=True):
        assert batch['inputs'].equal(expected['inputs'])
        assert batch['data_samples']['target'].equal(expected['data_samples']['target'])


def test_the_last_batch_is_filled_with_the_first_of_the_order(tiny_videos, monkeypatch):
    videos, asked = dataset(tiny_videos), []
    original = type(videos).load

    def spy(self, index, *names, **options):
        asked.append(index)
        return original(self, index, *names, **options)

    monkeypatch.setattr(type(videos), 'load', spy)
    list(ClipLoader(videos, 4).shuffled(np.arange(10), 7, 'x'))
    assert len(asked) == 12 and sorted(asked[:10]) == list(range(10)) and asked[10:] == asked[:2]
    asked.clear()
    list(ClipLoader(videos, 4).in_order(np.arange(10), 7, 'x'))
    assert asked == list(range(10))


def test_a_client_smaller_than_a_batch(tiny_videos):
    batches = list(ClipLoader(dataset(tiny_videos), 8).shuffled(np.array([1, 2, 3]), 7, 'x'))
    assert [batch['inputs'].shape[0] for batch in batches] == [8]


def test_an_unreadable_video_is_named_counted_and_replaced_from_the_same_client(broken, caplog):
    videos = dataset(broken)
    sample = videos.load(5, 7, 'x', among=np.array([4, 5]))
    np.testing.assert_array_equal(sample['inputs'], videos.load(4, 7, 'x')['inputs'])
    assert list(videos.bad) == ['train/00005.avi'] and 'train/00005.avi' in caplog.text
    again = dataset(broken).load(5, 7, 'x', among=np.array([4, 5]))
    np.testing.assert_array_equal(sample['inputs'], again['inputs'])
    assert sample['inputs'].std() > 5  # no black clip


def test_a_video_that_is_damaged_in_part_is_tried_again(tiny_videos, tmp_path):
    """Which draws hit the damage is a matter of their names alone, not of what this process has met before."""
    root = tmp_path / 'damaged'
    shutil.copytree(tiny_videos, root)
    path = root / 'train/00005.avi'
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in [packet for packet in container.demux(video=0) if packet.size][20:24]:
            data[packet.pos + packet.size // 2:packet.pos + packet.size] = bytes(packet.size - packet.size // 2)
    path.write_bytes(data)

    def loads(videos, epochs):
        return [videos.load(5, 7, epoch)['inputs'] for epoch in epochs]

    experienced = dataset(root)
    first = loads(experienced, range(12))
    assert 0 < sum(np.array_equal(mine, whole) for mine, whole in zip(first, loads(dataset(tiny_videos), range(12)),
                                                                      strict=True)) < 12
    for epoch in range(12):
        np.testing.assert_array_equal(first[epoch], loads(dataset(root), [epoch])[0])
    assert list(experienced.bad) == ['train/00005.avi'] and not experienced.lost


def test_what_was_met_before_does_not_change_a_replacement(broken):
    fresh, experienced = dataset(broken), dataset(broken)
    list(ClipLoader(experienced, 4).shuffled(np.arange(16), 7, 'earlier'))
    np.testing.assert_array_equal(fresh.load(5, 7, 'x')['inputs'], experienced.load(5, 7, 'x')['inputs'])


def test_evaluation_leaves_an_unreadable_video_out(broken):
    videos = dataset(broken, replace_bad=False)
    batches = list(ClipLoader(videos, 4).in_order(np.arange(16), 7, 'test'))
    assert sum(batch['inputs'].shape[0] for batch in batches) == 15 and len(videos.bad) == 1


def test_too_many_unreadable_videos_stop_the_run(broken):
    videos = dataset(broken)
    videos.load(5, 7, 'x')
    videos.check_bad(0.1)
    with pytest.raises(BadVideosError, match=r'(?s)1 of 16 videos are unreadable.*train/00005.avi'):
        videos.check_bad(0.01)


def test_when_no_replacement_is_readable(broken):
    with pytest.raises(BadVideosError, match='train/00005.avi and 1 videos tried'):
        dataset(broken).load(5, 7, 'x', among=np.array([5]))


def test_a_missing_video_is_an_unreadable_video(tiny_videos):
    videos = dataset(tiny_videos)
    videos.videos[0] = Video('train/none.mp4', 0, {}, 2)
    videos.load(0, 7, 'x')
    assert list(videos.bad) == ['train/none.mp4']


def test_an_empty_split_is_refused(tiny_videos):
    data = from_dict(tiny_values(tiny_videos)).data
    with pytest.raises(DataListError, match='no videos'):
        build_dataset(data, data.train, [], True)
    with pytest.raises(DataListError, match="trian"):
        read_videos(data, 'trian')


def test_quarantined_videos_are_left_out_and_counted(tiny_videos, tmp_path, caplog):
    data = replace(from_dict(tiny_values(tiny_videos)).data, quarantine=str(tmp_path / 'quarantine.csv'))
    all_of_them = [video.path for video in read_videos(replace(data, quarantine=None), 'train')]
    (tmp_path / 'quarantine.csv').write_text('path,reason\ntrain/00003.avi,truncated\nnot/listed.mp4,missing\n')
    kept = [video.path for video in read_videos(data, 'train')]
    assert kept == [path for path in all_of_them if path != 'train/00003.avi']
    assert "quarantine.csv names 2 videos: 1 of 16 of split 'train' are left out" in caplog.text
    assert len(read_videos(data, 'test')) == 8
    before = list_digests(data)
    assert set(before) == {'annotations_sha256', 'quarantine_sha256'}
    (tmp_path / 'quarantine.csv').write_text('path,reason\n')
    assert len(read_videos(data, 'train')) == 16 and list_digests(data) != before


def test_a_quarantine_that_is_wrong(tiny_videos, tmp_path):
    data = replace(from_dict(tiny_values(tiny_videos)).data, quarantine=str(tmp_path / 'quarantine.csv'))
    with pytest.raises(DataListError, match='quarantine.csv: no such file'):
        read_videos(data, 'train')
    (tmp_path / 'quarantine.csv').write_text('path,reason\n../x,missing\n')
    with pytest.raises(DataListError, match=r'quarantine.csv:2: .*\.\.'):
        read_videos(data, 'train')
    (tmp_path / 'quarantine.csv').write_text('severity,kind,path,message,remedy\nwarning,x,train/00001.avi,y,z\n')
    with pytest.raises(DataListError, match='has columns severity, kind, .*; a quarantine has path and reason only'):
        read_videos(data, 'train')
    everything = read_videos(replace(data, quarantine=None), 'train')
    (tmp_path / 'quarantine.csv').write_text('path\n' + '\n'.join(video.path for video in everything))
    with pytest.raises(DataListError, match="leaves none of the 16 videos of split 'train'"):
        read_videos(data, 'train')


def test_frames_and_zips_of_frames_are_videos(tiny_videos, tmp_path):
    videos = dataset(tiny_videos, replace_bad=False)
    data = from_dict(tiny_values(tmp_path)).data
    stored = []
    for index, video in enumerate(videos.videos[:4]):
        folder = tmp_path / f'clip{index}'
        folder.mkdir()
        with open_video(tiny_videos / video.path) as reader:
            for number, frame in enumerate(reader.get(range(len(reader))), 1):
                cv2.imwrite(str(folder / f'img_{number:05d}.png'), frame[..., ::-1])
        if index % 2:
            shutil.make_archive(str(folder), 'zip', folder)
        stored.append(Video(f'clip{index}{".zip" if index % 2 else ""}', 0, {}, index + 2))
    same = build_dataset(data, data.train, stored, replace_bad=False)
    for index in range(4):
        expected, found = (loaded.load(index, 7, 'x')['inputs'] for loaded in (videos, same))
        assert np.array_equal(found, expected)
    assert not same.bad
