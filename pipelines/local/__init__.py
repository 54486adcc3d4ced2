"""The pipeline on this machine: in processes or in containers, and what a person sees of it meanwhile."""
