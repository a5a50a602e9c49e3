# CtP's published sampling and geometry: one clip of 16 frames, stride 1 to 5 with jitter; short side 112, 128 or 144,
# random crop 112, flip. Patches and colours follow on the device (_base_/models/ctp_r3d18.py).
data = dict(
    train=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4, 5], jitter=True),
        transforms=[
            dict(type='RandomResize', sizes=[112, 128, 144]),
            dict(type='RandomCrop', size=112),
            dict(type='Flip', p=0.5),
        ],
    ),
    test=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4, 5], jitter=True),
        transforms=[dict(type='Resize', size=128), dict(type='CenterCrop', size=112)],
    ),
    batch_size=4,
)
