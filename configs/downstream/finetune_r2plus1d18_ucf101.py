# Fine-tuning R(2+1)D-18 on UCF-101 in place of R3D-18; everything else as in finetune_r3d18_ucf101.py.
#   python tools/finetune.py configs/downstream/finetune_r2plus1d18_ucf101.py --pretrained WORK_DIR \
#       --splits 1 2 3 --cfg-options runtime.device=cuda
# Needs data/ucf101/annotations.csv (scripts/prepare_ucf101.py). Result: not run.
_base_ = ['finetune_r3d18_ucf101.py']
model = dict(backbone=dict(type='R2Plus1D18'))
