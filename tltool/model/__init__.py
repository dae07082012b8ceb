"""Backbone and head as one model, and what of it trains when."""
