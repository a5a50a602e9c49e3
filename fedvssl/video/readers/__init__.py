"""One file a backend: each reads videos of its kind behind `fedvssl.video.reader.FrameReader`."""
