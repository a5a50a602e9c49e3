"""Files of CIFAR's form, generated: the pickles byte for byte as Python 2 and numpy 1 wrote them."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np


class Python2Pickle:
    """Writes protocol 2 as cPickle of Python 2.7 did: strings are BINSTRING, and objects are numbered from 1."""

    def __init__(self):
        self.content = bytearray(b'\x80\x02')
        self.remembered = 0

    def dumps(self, value) -> bytes:
        self.write(value)
        return bytes(self.content) + b'.'

    def put(self):
        self.remembered += 1
        self.content += b'q' + bytes([self.remembered]) if self.remembered < 256 else (
            b'r' + struct.pack('<i', self.remembered))

    def write(self, value):
        if isinstance(value, dict):
            self.content += b'}'
            self.put()
            self.content += b'('
            for key, item in value.items():
                self.write(key)
                self.write(item)
            self.content += b'u'
        elif isinstance(value, list):
            self.content += b']'
            self.put()
            self.content += b'('
            for item in value:
                self.write(item)
            self.content += b'e'
        elif isinstance(value, str):
            data = value.encode('latin1')
            size = b'U' + bytes([len(data)]) if len(data) < 256 else b'T' + struct.pack('<i', len(data))
            self.content += size + data
            self.put()
        elif isinstance(value, int):
            self.content += b'K' + bytes([value]) if value < 256 else b'J' + struct.pack('<i', value)
        else:
            self.array(value)

    def array(self, array: np.ndarray):
        self.content += b'cnumpy.core.multiarray\n_reconstruct\n'
        self.put()
        self.content += b'cnumpy\nndarray\n'
        self.put()
        self.content += b'K\x00\x85'  # (0,)
        self.put()
        self.write('b')
        self.content += b'\x87'
        self.put()
        self.content += b'R'
        self.put()
        self.content += b'(K\x01'
        for size in array.shape:
            self.write(size)
        self.content += {1: b'\x85', 2: b'\x86'}[array.ndim]
        self.put()
        self.content += b'cnumpy\ndtype\n'
        self.put()
        self.write(array.dtype.str[1:])
        self.content += b'K\x00K\x01\x87'
        self.put()
        self.content += b'R'
        self.put()
        self.content += b'(K\x03'
        self.write(array.dtype.str[0])
        self.content += b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t'
        self.put()
        self.content += b'b\x89'
        data = array.tobytes()
        self.content += b'T' + struct.pack('<i', len(data)) + data
        self.put()
        self.content += b't'
        self.put()
        self.content += b'b'


def cifar10(per_batch: int = 20, classes: int = 10) -> dict[str, dict]:
    """Returns what the files of a CIFAR-10 hold; image i of batch b is b in red, i in green, its place in blue."""
    names = [*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch']
    batches = {}
    for number, name in enumerate(names, 1):
        planes = np.empty((per_batch, 3, 1024), np.uint8)
        planes[:, 0], planes[:, 1] = number, np.arange(per_batch)[:, None]
        planes[:, 2] = np.arange(1024) % 251
        batches[name] = {'batch_label': name, 'labels': [(number + i // 2) % classes for i in range(per_batch)],
                         'data': planes.reshape(per_batch, -1),
                         'filenames': [f'{name}_{i}.png' for i in range(per_batch)]}
    batches['batches.meta'] = {'num_cases_per_batch': per_batch, 'label_names': [f'class{i}' for i in range(classes)],
                               'num_vis': 3072}
    return batches


def cifar100(train: int = 40, test: int = 20) -> dict[str, dict]:
    """Returns what the files of a CIFAR-100 hold; the fine label of image i is 3 i modulo 100, the coarse a fifth."""
    files = {}
    for name, count in (('train', train), ('test', test)):
        fine = [3 * i % 100 for i in range(count)]
        pixels = np.arange(count * 3072, dtype=np.int64).reshape(count, -1) % 256
        files[name] = {'filenames': [f'{name}{i}.png' for i in range(count)], 'batch_label': name, 'fine_labels': fine,
                       'coarse_labels': [label // 5 for label in fine], 'data': pixels.astype(np.uint8)}
    files['meta'] = {'fine_label_names': [f'fine{i}' for i in range(100)],
                     'coarse_label_names': [f'coarse{i}' for i in range(20)]}
    return files


def pickled(files: dict[str, dict], dumps=None) -> dict[str, bytes]:
    """Returns the files' bytes."""
    return {name: dumps(values) if dumps else Python2Pickle().dumps(values) for name, values in files.items()}


def unpack(folder: Path, contents: dict[str, bytes]) -> Path:
    """Writes them into a folder."""
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def pack(archive: Path, folder: str, contents: dict[str, bytes]) -> Path:
    """Writes them into a ``.tar.gz``."""
    with tarfile.open(archive, 'w:gz') as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f'{folder}/{name}')
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive
