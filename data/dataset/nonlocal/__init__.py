"""List generators for Kinetics and for a folder with one sub-folder a class."""
