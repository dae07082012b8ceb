"""Export: artifacts that carry their labels and preprocessing, checked before they are kept."""
