# R3D-18 at an eighth of its width: 0.52 M parameters, for demos on a CPU.
model = dict(backbone=dict(type='R3D18', base_channels=8), data_preprocessor=dict(type='ClipPreprocessor'))
