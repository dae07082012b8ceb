"""Pretrained models: their cards, their files, and how they become a `Backbone`."""
