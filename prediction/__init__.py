"""What predict.py gives: the classes of a video, its segments with times, its features. One readable file each."""
