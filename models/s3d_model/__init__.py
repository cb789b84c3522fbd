"""The S3D family: Inception-v1 trunks with convolutions over time where a table says."""
