"""Networks that tltool builds itself, of public Keras layers."""
