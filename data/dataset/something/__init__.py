"""List generator for Something-Something V2."""
