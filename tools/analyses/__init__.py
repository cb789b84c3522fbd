"""The jobs of tools/analyse.py."""
