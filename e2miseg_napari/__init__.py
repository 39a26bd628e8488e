"""The napari plugin: shows what `e2miseg_core` computes, and never imports torch."""
