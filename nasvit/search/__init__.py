"""Search under hard limits: engine, measuring of inherited weights, Pareto front."""
