"""Training: data sets, patches, augmentation, the loop, and exact resume."""
