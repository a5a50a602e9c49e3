# Kinetics-400: data/kinetics400/annotations.csv, as scripts/prepare_kinetics400.py writes it (path,label,...,split).
# 100 clients of 8 classes, every video on one of them: what the published non-IID split describes. With
#     data.partition.type=ListsPartitioner data.partition.directory=DIR
# they are those of list files, such as the published ones or those of scripts/k400_non_iid.py --mode legacy.
dataset = dict(
    root='data/kinetics400',
    test='val',
    partition=dict(type='ClassBlocksPartitioner', num_clients=100, classes_per_client=8),
)
