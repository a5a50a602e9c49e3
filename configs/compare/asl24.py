# Real clips on a CPU: what federated pretraining is worth across persons. asl24 has 24 hand signs by two people; one
# person's clips are shared by 4 IID clients, the other's are the test, in both directions. Narrow R3D-18 (1.2 M
# parameters), 8 frames of 56x56; VCOP and Speed in one place, by FedAvg, FedVSSL(0, 0) and FedVSSL(0.9, 1), CtP by the
# last; three seeds.
#   python tools/compare.py configs/compare/asl24.py --work-dir work_dirs/asl24 --jobs 2 --cfg-options \
#       data.root=$FEDVSSL_DATA/video/asl24/clips
# Budget: 13 core hours, so 7 hours with --jobs 2 on two cores, estimated from the CPU time of a sample (ms: Speed 20,
# VCOP 46, CtP 35, fine-tuning 21, a test video 59). A pretraining is 48 epochs of Speed, 36 of VCOP, 40 of CtP over one
# person's clips, in one place as in a federation. Seed by seed: after a third of the time there is a whole table of one
# seed. Stop it at any time; the same command goes on. Result: under way.
seeds = [7, 8, 9]
settings = {
    'from jack to tom': {'data.train.split': 'jack', 'data.test.split': 'tom'},
    'from tom to jack': {'data.train.split': 'tom', 'data.test.split': 'jack'},
}
# One core for each job.
options = {'data.annotations': '../clips.csv', 'federation.workers': 1}

evaluations = [
    dict(task='finetune', config='../downstream/finetune_r3d18_folder.py'),
    dict(task='knn', config='../downstream/finetune_r3d18_folder.py'),
    dict(task='retrieval', config='../downstream/finetune_r3d18_folder.py'),
]
reference = 'scratch'
arms = [
    dict(name='random weights', kind='random'),
    dict(name='scratch', kind='scratch'),
    dict(name='Speed, central', kind='central', config='../pretrain/video/speed_r3d18_folder.py'),
    dict(name='Speed, FedAvg', kind='federated', config='../pretrain/video/speed_r3d18_folder.py',
         options={'strategy': dict(type='FedAvg')}),
    dict(name='Speed, FedVSSL(0, 0)', kind='federated', config='../pretrain/video/speed_r3d18_folder.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.0, beta=0.0)}),
    dict(name='Speed, FedVSSL(0.9, 1)', kind='federated', config='../pretrain/video/speed_r3d18_folder.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.9, beta=1.0)}),
    dict(name='VCOP, central', kind='central', config='../pretrain/video/vcop_r3d18_folder.py'),
    dict(name='VCOP, FedAvg', kind='federated', config='../pretrain/video/vcop_r3d18_folder.py',
         options={'strategy': dict(type='FedAvg')}),
    dict(name='VCOP, FedVSSL(0, 0)', kind='federated', config='../pretrain/video/vcop_r3d18_folder.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.0, beta=0.0)}),
    dict(name='VCOP, FedVSSL(0.9, 1)', kind='federated', config='../pretrain/video/vcop_r3d18_folder.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.9, beta=1.0)}),
    dict(name='CtP, FedVSSL(0.9, 1)', kind='federated', config='../pretrain/video/ctp_r3d18_folder.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.9, beta=1.0)}),
]
