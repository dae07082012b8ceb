"""Texts: tokenizing, cutting, padding."""
