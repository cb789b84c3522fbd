"""Optical flow as an input: methods that compute it, caches that keep it, the sources that the loaders read."""
