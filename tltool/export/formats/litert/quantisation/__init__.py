"""Full 8-bit quantisation: what stays in float, and the sweep over all precisions."""
