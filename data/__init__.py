"""Data sets: list generators and the demo, one folder each."""
