"""From official lists, archives and a directory of videos to one annotation list; one module per data set.

    lists ─► ucf101, hmdb51, kinetics400 ─► locate ─► table ─► annotations.csv
    archives ─► the directory of videos ─► folder ─────┘

None of these opens a video: names decide. Apart from them, a set is re-encoded for cheap loading:

    annotations.csv, or a directory ─► video_lists, video_sources ─► videos ─► video_store ─► a directory like it
"""
