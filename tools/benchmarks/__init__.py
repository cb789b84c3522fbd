"""What tools/benchmark.py measures, and the programs it measures against (torch_networks.py, zoo_reader.py)."""
