"""The demo data set, drawn on the spot."""
