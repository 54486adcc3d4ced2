"""Sentences into vectors: the encoders of the descriptions."""
