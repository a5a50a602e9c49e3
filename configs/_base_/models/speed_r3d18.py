# Speed on R3D-18, as published: seven playback rates, average pool, dropout 0.5, weights from N(0, 0.001).
model = dict(
    type='Speed',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='mmaction.I3DHead', num_classes=7, dropout_ratio=0.5, init_std=0.001),
    data_preprocessor=dict(type='ClipPreprocessor'),
)
