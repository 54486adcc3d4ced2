"""The pipeline on a cluster: deploy, submit, watch, repeat one stage."""
