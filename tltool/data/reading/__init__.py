"""From folders, tables, samples and Python objects to examples."""
