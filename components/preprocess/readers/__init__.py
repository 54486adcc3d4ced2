"""Skeletons as other people's tools write them, read sample by sample."""
