"""Scripts: each runs as `python tools/NAME.py` and as `python -m tools.NAME`. Nothing imports them."""
