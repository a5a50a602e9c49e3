"""Clips whose frames are decoded on a device: tensors all the way into the batch. Runs on the CPU's tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedvssl.config import DecodeConfig, from_dict
from fedvssl.data import clips as clips_module
from fedvssl.data.clips import ClipReader
from fedvssl.data.dataset import ClipDataset, build_dataset, read_videos
from fedvssl.data.loader import ClipLoader
from fedvssl.data.sampling import RandomClipSampler, SpeedSampler, VCOPSampler
from fedvssl.data.transforms import FastResizeCrop, Flip, RandomCrop, Resize
from fedvssl.errors import ConfigError
from fedvssl.video import open_video
from fedvssl.video.devices import UploadingReader
from tests.conftest import tiny_values


@pytest.fixture
def on_device(monkeypatch):
    """Makes readers return tensors, as for ``device='cuda'``."""
    def upload(path, backend, device, **options):
        return UploadingReader(open_video(path, backend, **options), torch.device('cpu'))

    monkeypatch.setattr(clips_module, 'open_video', upload)


@pytest.mark.parametrize('sampler', [RandomClipSampler(4, num_clips=2), VCOPSampler(4, gap=2), SpeedSampler(4)])
@pytest.mark.parametrize('transforms', [[Resize((24, 18)), RandomCrop(16), Flip(0.5)],
                                        [FastResizeCrop([18, 20], 16), Flip(1.0)], [RandomCrop(16)]])
@pytest.mark.parametrize('independent', [False, True])
def test_tensors_show_what_arrays_show(sampler, transforms, independent, tiny_videos, on_device, monkeypatch):
    reader = ClipReader(tiny_videos, sampler, transforms, DecodeConfig(index=None), independent)
    there = [reader.read('train/00003.avi', stream) for stream in range(4)]
    monkeypatch.undo()
    for stream, clips in enumerate(there):
        here = reader.read('train/00003.avi', stream)
        assert isinstance(here.pixels, np.ndarray) and isinstance(clips.pixels, torch.Tensor)
        assert clips.pixels.dtype == torch.uint8 and clips.target == here.target
        assert np.abs(clips.pixels.numpy().astype(int) - here.pixels).max() <= 1


def test_batches_are_made_where_the_frames_are(tiny_videos, on_device):
    videos = read_videos(from_dict(tiny_values(tiny_videos)).data, 'train')
    reader = ClipReader(tiny_videos, RandomClipSampler(4), [Resize(18), RandomCrop(16)], DecodeConfig())
    loader = ClipLoader(ClipDataset(videos, reader), 4, workers=2)
    batch = next(loader.shuffled(np.arange(8), 7, 'x'))
    loader.close()
    assert batch['inputs'].shape == (4, 1, 4, 16, 16, 3) and batch['inputs'].dtype == torch.uint8


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_the_key_is_named(tiny_videos):
    data = from_dict(tiny_values(tiny_videos)).data
    data = replace(data, decode=DecodeConfig(device='cuda'), workers=2)
    dataset = build_dataset(data, data.train, read_videos(data, 'train'), replace_bad=True)
    with pytest.raises(ConfigError, match=r'device=cuda: there is no CUDA device.* set data\.decode\.device=cpu'):
        dataset.load(0, 7)
    assert not dataset.bad
