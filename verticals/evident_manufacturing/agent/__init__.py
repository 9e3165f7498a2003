"""The edge agent: images from a source, through an inspection, into an outbox, to a MES; without PyTorch."""
