"""From the packed dataset to what the network sees: sampling, augmentation, streams, mix-up, batch by batch."""
