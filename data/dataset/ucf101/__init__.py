"""List generator for UCF101."""
