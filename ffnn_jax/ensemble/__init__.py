"""Many networks at once: one program trains M of them, on one device or split over several."""

from ffnn_jax.ensemble.many import FitMany, fit_many

__all__ = ["FitMany", "fit_many"]
