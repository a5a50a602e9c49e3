from fedvssl.benchmarks.search import CONTESTANTS, measure_search


def test_all_find_the_same():
    told = {}
    result = measure_search(1, 1, told.__setitem__, dict(gallery=300, queries=40, dimension=24), k=20)
    assert list(told) == list(result['searches']) == list(CONTESTANTS)
    for figures in result['searches'].values():
        assert figures['same_places'] == 1 and figures['wall_s']['n'] == 1
        assert figures['cpu_s']['median'] > 0 and 0.1 < figures['peak_memory_gb']['median'] < 2
    assert [bar['met'] for bar in result['bars']] == [True, True] and result['load_average']['n'] == 4
