"""What every package leans on: errors, files, progress, downloads; nothing of machine learning."""
