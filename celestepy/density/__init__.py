"""Densities of quantities without noise from noisy, incomplete data: extreme deconvolution."""
