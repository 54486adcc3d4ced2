"""The evaluate stage: scores of all streams and rounds → ensemble, metrics, report."""
