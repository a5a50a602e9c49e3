"""The log of a run."""

import json

from fedvssl.training.logging import JsonlHook


def test_every_so_many_steps_are_logged_and_every_reply_of_a_client(tmp_path):
    file = tmp_path / 'log.jsonl'
    hook = JsonlHook(file, every=50)
    for step in range(1, 121):
        hook.after_step(1, dict(step=step, loss=1 / step))
    hook.after_step(2, dict(client=3, loss=0.5))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.get('step') for line in lines] == [50, 100, None]
    assert lines[0]['loss'] == 0.02 and lines[2]['client'] == 3 and lines[2]['round'] == 2
