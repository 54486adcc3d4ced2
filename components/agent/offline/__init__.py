"""Guidance without a network: the written priors, the heuristic that contrasts them, and what the data says."""
