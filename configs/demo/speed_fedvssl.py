# Demo: federated Speed pretraining (which of seven playback rates?) on generated videos, 2 of 4 clients a round.
#   python tools/fed_train.py configs/demo/speed_fedvssl.py --work-dir work_dirs/demo-speed
#   python tools/train.py configs/demo/speed_fedvssl.py --work-dir work_dirs/demo-speed-central
# Needs data/demo (scripts/generate_videos.py). Result (federated, seed 7, one run, about 4 min on one CPU core): 74.3 %
# of 400 held-out videos, chance 14.3 %; see pretext.json beside this file.
# 8 frames at stride 4 span 29 of a video's 40 to 48 frames. No flip and no colour: the demo is short.
_base_ = ['../_base_/models/tiny_r3d18.py', '../_base_/data/demo.py']
model = dict(type='Speed', head=dict(type='mmaction.I3DHead', num_classes=7, dropout_ratio=0.0, init_std=0.01))
data = dict(
    train=dict(sampler=dict(type='SpeedSampler', clip_length=8)),
    test=dict(sampler=dict(type='SpeedSampler', clip_length=8)),
    partition=dict(type='IIDPartitioner', num_clients=4),
    batch_size=8,
    test_batch_size=20,
)
# Not the published optimiser; see vcop_fedvssl.py.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.0005, weight_decay=0.01),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='StepSchedule', milestones=[0.75], gamma=0.1)
federation = dict(rounds=24, clients_per_round=2, local_epochs=8, evaluate_every=6, workers=2,
                  strategy=dict(type='FedVSSL', alpha=0.9, beta=0.0))
training = dict(epochs=60)
