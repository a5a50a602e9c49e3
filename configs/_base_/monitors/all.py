# Pretext accuracy against chance, spread and rank of the features, kNN on 200 + 200 labelled videos of the run's own
# list (only the monitor sees their labels), loss and update of each client; every 5 rounds and after the last. They
# change nothing of a run, and may be added to one that is resumed. Another pace: --cfg-options monitors.1.every=20.
monitors = [
    dict(type='PretextMonitor', every=5),
    dict(type='RepresentationMonitor', every=5, clips=64, probe=dict(train='train', test='test', size=200)),
    dict(type='UpdateMonitor', every=5),
]
