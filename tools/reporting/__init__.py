"""The parts of tools/report.py: numbers, thumbnails, charts, texts and the page that they make up."""
