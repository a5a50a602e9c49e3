# Video MoCo's sampling and geometry in CtP's code: as for Rot3D, but two clips of 16 frames, each with its own stride 1
# to 4, jitter, size, flip, colour change and crop.
_base_ = ['rot3d_16x112.py']
data = dict(
    train=dict(sampler=dict(stride=[1, 2, 3, 4], num_clips=2), independent_clips=True),
    test=dict(sampler=dict(stride=[1, 2, 3, 4], num_clips=2)),
)
