"""From official lists, archives and a directory of videos to one annotation list; one module per data set.

    lists ─► ucf101, hmdb51, kinetics400 ─► locate ─► table ─► annotations.csv
    archives ─► the directory of videos ─► folder ─────┘

Nothing here opens a video: names decide.
"""
