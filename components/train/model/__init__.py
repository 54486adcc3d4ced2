"""The recogniser: graph and temporal convolutions, its heads, losses, and its folded form for inference."""
