# VCOP's published sampling and geometry: 3 clips of 16 frames, 8 apart; 171x128, random crop 112; no flip, no colour.
data = dict(
    train=dict(
        sampler=dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8),
        transforms=[dict(type='Resize', size=(171, 128)), dict(type='RandomCrop', size=112)],
    ),
    test=dict(
        sampler=dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8),
        transforms=[dict(type='Resize', size=(171, 128)), dict(type='CenterCrop', size=112)],
    ),
    batch_size=4,
)
