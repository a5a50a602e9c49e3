# HMDB-51, split 1 of 3: data/hmdb51/annotations.csv, as scripts/prepare_hmdb51.py writes it (path,label,class,split1,
# split2,split3). Another split: data.split_column=split2. Videos that a split does not use are marked unused there.
dataset = dict(
    root='data/hmdb51',
    split_column='split1',
    partition=dict(type='IIDPartitioner', num_clients=5),
)
