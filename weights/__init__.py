"""What others call the tensors of these networks, how they pack them, and how their networks differ."""
