# Any folder of videos with a CSV (columns path, label and whatever else). Say where it is:
#     --cfg-options data.root=/my/videos data.annotations=clips.csv
# data.split_column and data.train.split / data.test.split choose the rows; data.partition makes the clients:
#     dict(type='IIDPartitioner', num_clients=4)   or   dict(type='ColumnPartitioner', column='site')
# Reduced geometry for a CPU: 8 frames of 56x56. Three clips with gap 8 span 40 frames.
data = dict(
    annotations='clips.csv',
    train=dict(
        split='train',
        sampler=dict(type='VCOPSampler', clip_length=8, num_clips=3, gap=8),
        transforms=[dict(type='Resize', size=64), dict(type='RandomCrop', size=56)],
    ),
    test=dict(
        split='test',
        sampler=dict(type='VCOPSampler', clip_length=8, num_clips=3, gap=8),
        transforms=[dict(type='Resize', size=64), dict(type='CenterCrop', size=56)],
    ),
    batch_size=8,
)
