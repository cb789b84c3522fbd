"""Everything that opens a video file."""
