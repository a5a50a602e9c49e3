from fedvssl.benchmarks.partition import measure_partition


def test_every_scheme_is_measured():
    result = measure_partition(rows=20_000, repeats=2)
    assert list(result['cpu_seconds']) == ['iid', 'published_iid', 'class_blocks', 'published_window', 'dirichlet',
                                           'shards', 'by_value']
    for seconds in result['cpu_seconds'].values():
        assert 0 <= seconds['min'] <= seconds['median'] <= seconds['max']
