# UCF-101, split 1 of 3: data/ucf101/annotations.csv, as scripts/prepare_ucf101.py writes it (path,label,class,group,
# split1,split2,split3). Another split: data.split_column=split2. 5 silos that are alike; with clips of one actor and
# background kept together: data.partition.type=ColumnPartitioner data.partition.column=group
dataset = dict(
    root='data/ucf101',
    split_column='split1',
    partition=dict(type='IIDPartitioner', num_clients=5),
)
