"""What is done with a trained network: scoring, prediction, curves, and published weights."""
