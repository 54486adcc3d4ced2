"""Numbers from scores: the ensemble, accuracy with its uncertainty, calibration, and what the guidance did."""
