"""From an annual report to a risk report: ingest, perceive, assess, write, export; ``pipeline`` runs them in order."""
