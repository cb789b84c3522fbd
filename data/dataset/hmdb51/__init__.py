"""List generator for HMDB51."""
