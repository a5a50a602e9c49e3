"""Pretext tasks on video, one file each."""
