# Fine-tuning R3D-18 on HMDB-51, split 1, by the published protocol: 150 epochs, 10 mid-tick clips, logits averaged.
#   python tools/finetune.py configs/downstream/finetune_r3d18_hmdb51.py --pretrained WORK_DIR \
#       --cfg-options runtime.device=cuda
# The mean of the three splits: --splits 1 2 3. With 10 % of the labels: training.label_fraction=0.1.
# Needs data/hmdb51/annotations.csv (scripts/prepare_hmdb51.py). Result: not run.
_base_ = [
    '../_base_/models/recognizer_r3d18.py',
    '../_base_/data/finetune_16x112.py',
    '../_base_/data/hmdb51.py',
    '../_base_/schedules/finetune_sgd.py',
]
model = dict(head=dict(num_classes=51))
data = dict(workers=4)
