"""The web frame of every service: one factory, and the rooms it opens onto."""
