"""The files of tokenizers, of whatever library, as preprocessing contracts."""
