# Demo: federated VCOP pretraining on generated videos against its points of reference.
#   python tools/compare.py configs/demo/compare.py --work-dir work_dirs/demo-compare --jobs 2
# Needs data/demo (scripts/generate_videos.py). One seed takes about 8 minutes on two cores; for the spread over seeds:
# --seeds 7 8 9. Result: not run as a whole.
seeds = [7]
arms = [
    dict(name='random weights', kind='random'),
    dict(name='from scratch', kind='scratch'),
    dict(name='each client alone', kind='alone', config='vcop_fedvssl.py', options={'training.evaluate_every': 48}),
    dict(name='central', kind='central', config='vcop_fedvssl.py', options={'training.evaluate_every': 48}),
    dict(name='FedAvg', kind='federated', config='vcop_fedavg.py'),
    dict(name='FedVSSL(0.9, 0)', kind='federated', config='vcop_fedvssl.py'),
]
evaluations = [
    dict(task='finetune', config='finetune.py'),
    dict(task='knn', config='finetune.py'),
]
reference = 'from scratch'
# One core for each job, so that several can run beside each other.
options = {'federation.workers': 1}
