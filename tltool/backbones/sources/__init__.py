"""Where backbones come from: names become local folders with checked files."""
