# Frozen R3D-18 under the linear probe of FedVSSL's experiments: length 1, batch norm, one layer from N(0, 0.001).
# Published: train_norms=True, which lets the probed set change the backbone's batch norms; here they stay as they are.
model = dict(
    type='LinearProbe',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='LinearProbeHead', init_std=0.001),
    data_preprocessor=dict(type='ClipPreprocessor'),
    train_norms=False,
)
