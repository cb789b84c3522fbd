"""List generator for Mini-Kinetics-200."""
