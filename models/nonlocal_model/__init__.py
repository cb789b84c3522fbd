"""The NONLOCAL family: options.py describes a network, resnet_video.py builds it, nonlocal_block.py and attention.py
the block, placement.py where blocks stand, attention_map.py what they look at."""
