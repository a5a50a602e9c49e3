# Rot3D on R3D-18, as in CtP's code: four rotations, average pool, dropout 0.5, weights from N(0, 0.001).
model = dict(
    type='Rot3D',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='mmaction.I3DHead', num_classes=4, dropout_ratio=0.5, init_std=0.001),
    data_preprocessor=dict(type='ClipPreprocessor', augments=[dict(type='Rotate90')]),
)
