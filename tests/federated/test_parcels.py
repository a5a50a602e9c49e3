"""Objects through shared memory: what arrives, what stays, what grows, what is left."""

import os
from multiprocessing import get_context

import numpy as np
import pytest

from fedvssl.federated.engines.parcels import Parcels


@pytest.fixture
def ends():
    """Both ends of one file, in one process."""
    ours = Parcels()
    theirs = Parcels(os.dup(ours.descriptor))
    yield ours, theirs
    ours.close()
    theirs.close()


def arrays(count, value=0):
    return {f'w{number}': np.full((number, 3), value + number, np.float32) for number in range(count)}


def same(found, expected):
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


def test_what_is_packed_arrives(ends):
    ours, theirs = ends
    content = dict(arrays=arrays(5), empty=np.zeros((0, 3)), words=['a', 1], nothing=None)
    packed = ours.pack(content)
    assert len(packed) < 2000
    found = theirs.unpack(packed)
    assert same(found['arrays'], content['arrays']) and found['words'] == ['a', 1] and found['nothing'] is None
    assert found['empty'].shape == (0, 3)


def test_arrays_change_with_the_next_parcel_unless_their_place_is_occupied(ends):
    ours, theirs = ends
    view = theirs.unpack(ours.pack(arrays(4)))
    ours.pack(arrays(4, value=10))
    assert same(view, arrays(4, value=10))
    ours.pack(arrays(4, value=20), theirs.occupied())
    assert same(view, arrays(4, value=10))


def test_what_is_held_stays_and_what_is_dropped_is_used_again(ends):
    ours, theirs = ends
    held, sizes = {}, []
    for number in range(20):
        held[number] = theirs.unpack(ours.pack(arrays(4, value=number), theirs.occupied()))
        held.pop(number - 3, None)
        sizes.append(os.fstat(ours.descriptor).st_size)
    assert all(same(found, arrays(4, value=number)) for number, found in held.items())
    assert len(held) == len(theirs.occupied()) == 3 and sizes[-1] == sizes[4]


def test_one_array_keeps_its_whole_parcel(ends):
    ours, theirs = ends
    last = theirs.unpack(ours.pack(arrays(4)))['w3'][1:]
    assert len(theirs.occupied()) == 1
    ours.pack(arrays(4, value=10), theirs.occupied())
    assert np.array_equal(last, arrays(4)['w3'][1:])
    del last
    assert theirs.occupied() == []


def test_a_parcel_goes_where_it_fits(ends):
    ours, theirs = ends
    content = [dict(w=np.full(size, size)) for size in (1000, 3000, 1000, 2000, 500, 2000)]
    first, *others = [theirs.unpack(ours.pack(each, theirs.occupied())) for each in content[:3]]
    del first  # a gap of 1000 numbers
    others += [theirs.unpack(ours.pack(each, theirs.occupied())) for each in content[3:]]
    assert all(same(found, each) for found, each in zip(others, content[1:], strict=True))
    begins = [begin for begin, _ in theirs.occupied()]
    assert begins == [0, 8000, 32000, 40000, 56000]  # the one of 500 in the gap, each other at the end


def test_larger_parcels_make_the_file_grow(ends):
    ours, theirs = ends
    for size in (10, 100_000, 7, 3_000_000):
        content = {'w': np.arange(size)}
        assert same(theirs.unpack(ours.pack(content)), content)


def test_the_same_arrays_are_written_once(ends):
    ours, theirs = ends
    content = arrays(3)
    first = ours.pack(dict(content, tag=1), again=True)
    content['w2'][:] = -1  # what nobody may do: it shows that nothing is written a second time
    second = theirs.unpack(ours.pack(dict(content, tag=2), again=True))
    assert second.pop('tag') == 2 and same(second, arrays(3)) and first
    other = arrays(3, value=5)
    assert same(theirs.unpack(ours.pack(other, again=True)), other)
    assert same(theirs.unpack(ours.pack(content)), content)


def test_a_started_process_gets_the_other_end(ends):
    ours, _ = ends
    context = get_context('forkserver')
    back, their_connection = context.Pipe()
    returned = Parcels()
    process = context.Process(target=_double, args=(their_connection, ours, returned), daemon=True)
    process.start()
    back.send_bytes(ours.pack(arrays(4)))
    found = returned.unpack(back.recv_bytes())
    process.join(10)
    assert process.exitcode == 0 and same(found, {name: 2 * array for name, array in arrays(4).items()})
    returned.close()


def _double(connection, incoming, outgoing):
    content = incoming.unpack(connection.recv_bytes())
    connection.send_bytes(outgoing.pack({name: 2 * array for name, array in content.items()}))
