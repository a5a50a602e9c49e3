# R3D-18 with the classifier of the published fine-tuning: average pool, dropout 0.5, weights from N(0, 0.001).
model = dict(
    type='Recognizer',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='mmaction.I3DHead', dropout_ratio=0.5, init_std=0.001),
    data_preprocessor=dict(type='ClipPreprocessor'),
)
