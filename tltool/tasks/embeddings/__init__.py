"""Unit vectors near those of rows that are alike: the kinds, and the losses they train with."""
