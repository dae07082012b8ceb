"""What is wrong with data, found before anything is trained on it: `tltool data audit`."""
