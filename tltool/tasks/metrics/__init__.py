"""Metrics of finished predictions, as plain values that can be written as JSON.

What cannot be computed (the ROC-AUC of a class without rows, the correlation
of constants) is None beside a reason, never NaN.
"""
