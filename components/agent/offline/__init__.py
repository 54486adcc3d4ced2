"""Guidance without a network: the written priors, and the heuristic that contrasts them."""
