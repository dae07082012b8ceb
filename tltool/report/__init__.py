"""What a run tells people: summary, model card and plots."""
