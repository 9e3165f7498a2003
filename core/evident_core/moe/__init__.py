"""The mixture-of-experts backbone: configuration, router, experts, attention, model, families and weights."""
