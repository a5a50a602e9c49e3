# Federated Speed on any folder of videos with a CSV: narrow R3D-18 (1.2 M parameters), 8 frames of 56x56, on a CPU.
#
# Here on asl24, real clips of 24 hand signs by two people: 4 IID clients share the 473 clips of one of them; the 368
# clips of the other are held out.
#   python tools/fed_train.py configs/pretrain/video/speed_r3d18_folder.py --work-dir work_dirs/speed --cfg-options \
#       data.root=$FEDVSSL_DATA/video/asl24/clips data.annotations=../clips.csv
# Expected time: 4 min on two cores. Result: not run; configs/compare/asl24.py does, against its points of reference.
# 8 frames at stride 4 span 29 frames. No flip and no colour: runs are short.
_base_ = ['vcop_r3d18_folder.py']
model = dict(_delete_=True, type='Speed', backbone=dict(type='R3D18', base_channels=12),
             head=dict(type='mmaction.I3DHead', num_classes=7, dropout_ratio=0.0, init_std=0.01),
             data_preprocessor=dict(type='ClipPreprocessor'))
data = dict(
    train=dict(sampler=dict(_delete_=True, type='SpeedSampler', clip_length=8)),
    test=dict(sampler=dict(_delete_=True, type='SpeedSampler', clip_length=8)),
)
optim_wrapper = dict(optimizer=dict(lr=0.0005))
federation = dict(rounds=12)
training = dict(epochs=48)
