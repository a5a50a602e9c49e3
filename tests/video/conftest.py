"""Fixtures of the video tests: generated videos, and real ones where ``FEDVSSL_DATA`` says where they are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from watermark import RECIPES, cut_without_decoding, write_video


@pytest.fixture(scope='session')
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the path of a video of `RECIPES`, which is made once."""
    folder = tmp_path_factory.mktemp('videos')
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = write_video(folder / (name + RECIPES[name].suffix), RECIPES[name])
        return made[name]

    return make


@pytest.fixture(scope='session')
def edit_list_video(video: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 60 frames whose edit list hides the first 17."""
    return cut_without_decoding(video('h264_gop12'), tmp_path_factory.mktemp('cut') / 'cut.mp4', 17)


@pytest.fixture(scope='session')
def real_videos() -> Path:
    if 'FEDVSSL_DATA' not in os.environ:
        pytest.skip('FEDVSSL_DATA is not set')
    return Path(os.environ['FEDVSSL_DATA']) / 'video'
