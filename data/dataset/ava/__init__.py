"""List generator for AVA."""
