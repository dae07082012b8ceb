"""Folders of timm."""
