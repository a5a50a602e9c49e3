"""What there is to know about a video file, bad or good: facts, found out in processes that may die."""
