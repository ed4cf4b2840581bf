"""Laws and risks of least squares before and after pruning, predicted without training.

Linear Gaussian problems: x ~ N(0, Sigma), y = x beta + sigma z. Source: Chang, Li, Oymak and
Thrampoulidis (2020), "the 2020 paper" below.
"""
