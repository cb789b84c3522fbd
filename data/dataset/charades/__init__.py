"""List generator for Charades."""
