"""Preset folders of KerasHub and of KerasCV."""
