"""The data set of the detection demo, drawn on the spot: actors, what each does, and their boxes."""
