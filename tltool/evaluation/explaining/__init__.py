"""What in an input an answer rests on: maps of pictures, weights of words, and checks of both."""
