"""List generator for JHMDB."""
