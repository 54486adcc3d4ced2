"""One round by several processes: their ranks, torchrun in a pod, and a TrainJob over nodes."""
