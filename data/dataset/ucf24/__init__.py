"""List generator for UCF101-24."""
