"""Replies whose tensors are the client's own memory, which it overwrites for the next client."""

from contextlib import closing

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from fedvssl.federated.arrays import to_arrays, to_record
from fedvssl.federated.engines.answer import FIRST_NODE
from fedvssl.federated.engines.local import LocalGrid
from fedvssl.federated.engines.workers import WorkerGrid
from fedvssl.federated.messages import ARRAYS, arrays_of, partition_of

MODEL = np.zeros((300, 500), np.float32)


def make_app():
    app = ClientApp()

    @app.train()
    def train(message, context):
        MODEL[:] = to_arrays(arrays_of(message.content))['w'] + partition_of(context)
        return Message(RecordDict({ARRAYS: to_record({'w': MODEL})}), reply_to=message)

    return app


def ask(grid, value):
    content = RecordDict({ARRAYS: to_record({'w': np.full(MODEL.shape, value, np.float32)})})
    messages = [Message(content, dst_node_id=FIRST_NODE + partition, message_type='train') for partition in range(8)]
    return grid.send_and_receive(messages)


@pytest.mark.parametrize('make_grid', [lambda: LocalGrid(make_app, 8), lambda: WorkerGrid(make_app, 8, 1, 60),
                                       lambda: WorkerGrid(make_app, 8, 2, 60)], ids=['0', '1', '2'])
def test_replies_that_are_held_do_not_change(make_grid):
    with closing(make_grid()) as grid:
        held = [to_arrays(arrays_of(reply.content))['w'] for value in (10, 20) for reply in ask(grid, value)]
        assert [np.unique(tensor).tolist() for tensor in held] == [[base + k] for base in (10, 20) for k in range(8)]
    assert held[-1].max() == 27  # whatever has become of the processes


def test_flowers_own_arrays_pass_as_they_are():
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(RecordDict({ARRAYS: ArrayRecord({'w': Array(np.ones(3))})}), reply_to=message)

    message = Message(RecordDict(), dst_node_id=FIRST_NODE, message_type='train')
    reply, = LocalGrid(lambda: app, 1).send_and_receive([message])
    assert np.array_equal(reply.content[ARRAYS]['w'].numpy(), np.ones(3))
