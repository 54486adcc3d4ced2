"""One round by several processes: the process group, torchrun in a pod, and a TrainJob over nodes."""
