"""List generator for Something-Something V1."""
