"""The default predictor."""
from predictors.gaussian_process import GaussianProcess as Ensemble
