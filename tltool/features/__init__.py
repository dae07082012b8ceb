"""What frozen layers give, computed once and kept."""
