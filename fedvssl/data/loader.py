"""Batches in a fixed order, loaded ahead by workers.

A worker is a thread; usually it waits for a process that reads the clips (``clip_pool.py``). Threads and processes live
as long as the loader and serve every client in turn. Since each sample's randomness is named, their number never
changes a batch.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from fedvssl import rng
from fedvssl.data.dataset import ClipDataset, Dataset
from fedvssl.data.frame_ops import stacked
from fedvssl.data.images.dataset import ImageDataset

Batch = dict[str, Any]

BATCHES_AHEAD = 2


class Loader(ABC):
    """Serves batches of a dataset.

    Args:
        batch_size: Samples of a batch.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def num_batches(self, num_samples: int) -> int:
        """Returns how many batches `num_samples` samples make."""
        return -(-num_samples // self.batch_size)

    def shuffled(self, indices: np.ndarray, seed: int, *names: rng.Name) -> Iterator[Batch]:
        """Yields one training epoch.

        The last batch is filled up with the first samples of the shuffled order, as in the published code, so that no
        batch is small and no video is left out.

        Args:
            indices: Videos of the epoch, indices into the dataset, (n,).
            seed: Seed of the run.
            names: Name of the epoch, e.g. client, round, epoch.
        """
        order = rng.generator(seed, 'order', *names).permutation(indices)
        filled = np.resize(order, self.num_batches(len(order)) * self.batch_size)
        yield from self._batches(filled, indices, seed, *names)

    def in_order(self, indices: np.ndarray, seed: int, *names: rng.Name) -> Iterator[Batch]:
        """Yields every video once, in the order given; the last batch may be smaller (arguments as for `shuffled`)."""
        yield from self._batches(np.asarray(indices), indices, seed, *names)

    @abstractmethod
    def _batches(self, order: np.ndarray, among: np.ndarray, seed: int, *names: rng.Name) -> Iterator[Batch]:
        """Yields batches in the order given; a sample may be replaced by one of `among`."""

    @abstractmethod
    def close(self) -> None:
        """Ends whatever loads."""


class ClipLoader(Loader):
    """Serves batches of a `ClipDataset`.

    Args:
        dataset: Where the samples come from.
        batch_size: Samples of a batch.
        workers: How many load ahead; 0 loads in the caller's thread.
    """

    def __init__(self, dataset: ClipDataset, batch_size: int, workers: int = 0) -> None:
        super().__init__(batch_size)
        self.dataset = dataset
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix='clip-loader') if workers else None

    def _batches(self, order: np.ndarray, among: np.ndarray, seed: int, *names: rng.Name) -> Iterator[Batch]:
        def load(index: int) -> dict[str, Any] | None:
            return self.dataset.load(int(index), seed, *names, among=among)

        chunks = (order[start:start + self.batch_size] for start in range(0, len(order), self.batch_size))
        for samples in self._ahead(load, chunks) if self._pool else ([load(i) for i in chunk] for chunk in chunks):
            present = [sample for sample in samples if sample is not None]
            if present:
                yield collate(present)

    def _ahead(self, load: Any, chunks: Iterator[np.ndarray]) -> Iterator[list]:
        """Loads chunks in the pool, `BATCHES_AHEAD` in flight, and yields them in order."""
        assert self._pool is not None
        pending: deque[list[Future]] = deque()
        try:
            for chunk in chunks:
                pending.append([self._pool.submit(load, index) for index in chunk])
                if len(pending) > BATCHES_AHEAD:
                    yield [future.result() for future in pending.popleft()]
            while pending:
                yield [future.result() for future in pending.popleft()]
        finally:
            for future in (future for futures in pending for future in futures):
                future.cancel()

    def close(self) -> None:
        """Ends threads and processes."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self.dataset.close()  # which ends what the threads wait for
        if self._pool:
            self._pool.shutdown()


class ImageLoader(Loader):
    """Serves batches of an `ImageDataset`, whose images lie in memory: nothing is loaded, rows are taken.

    The augmentation of a batch is drawn at once, from a seed that the batch's place in the run names.

    Args:
        dataset: Where the images come from.
        batch_size: Images of a batch.
    """

    def __init__(self, dataset: ImageDataset, batch_size: int) -> None:
        super().__init__(batch_size)
        self.dataset = dataset

    def _batches(self, order: np.ndarray, among: np.ndarray, seed: int, *names: rng.Name) -> Iterator[Batch]:
        for step, start in enumerate(range(0, len(order), self.batch_size)):
            drawn = rng.stream_seed(seed, 'device', *names, step) >> 1
            yield self.dataset.batch(order[start:start + self.batch_size], drawn)

    def close(self) -> None:
        """Nothing to end."""


def build_loader(dataset: Dataset, batch_size: int, workers: int = 0) -> Loader:
    """Returns what serves batches of a dataset; `workers` are for videos."""
    if isinstance(dataset, ImageDataset):
        return ImageLoader(dataset, batch_size)
    return ClipLoader(dataset, batch_size, workers)


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Stacks samples into ``inputs`` uint8 (B, M, T, H, W, 3) and ``data_samples``: ``target``, ``seed`` int64 (B,)."""
    return dict(inputs=stacked([sample['inputs'] for sample in samples]),
                data_samples={key: torch.tensor([sample[key] for sample in samples]) for key in ('target', 'seed')})
