model = dict(
    type='VCOP',
    backbone=dict(type='R3D18', base_channels=8),
    head=dict(type='VCOPHead', hidden_channels=64, dropout=0.0),
    data_preprocessor=dict(type='ClipPreprocessor'),
)
data = dict(
    root='/tmp/demo_data',
    train=dict(split='train', sampler=dict(type='VCOPSampler', clip_length=8, gap=4),
               transforms=[dict(type='Resize', sizes=(49, 37)), dict(type='RandomCrop', size=32)]),
    test=dict(split='test', sampler=dict(type='VCOPSampler', clip_length=8, gap=4),
               transforms=[dict(type='Resize', sizes=(49, 37)), dict(type='CenterCrop', size=32)]),
    partition=dict(type='IIDPartitioner', num_clients=4),
    batch_size=8, test_batch_size=20,
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.01), clip_grad=dict(max_norm=40))
schedule = dict(type='CosineSchedule')
federation = dict(rounds=4, clients_per_round=4, local_epochs=2, evaluate_every=2, strategy=dict(type='FedVSSL', alpha=0.9, beta=0.0), workers=2)
