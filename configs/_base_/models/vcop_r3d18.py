# VCOP on R3D-18, as published (33.7 M parameters).
model = dict(
    type='VCOP',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='VCOPHead', num_clips=3, hidden_channels=512, dropout=0.5),
    data_preprocessor=dict(type='ClipPreprocessor'),
)
