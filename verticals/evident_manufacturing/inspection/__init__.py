"""From an image to defects in mm, a verdict, and what is delivered: one module a step."""
