"""Which known fault explains that an app answers otherwise than its model."""
