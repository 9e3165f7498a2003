"""Imported for its effect: all tables read and all names compiled, as a worker does once before it reads many files."""

from evident_finance.risk_report.perceive.identities import identities
from evident_finance.risk_report.perceive.items import catalogue
from evident_finance.risk_report.write import outlines, phrasebook, vocabulary

for table in (catalogue, identities, outlines, phrasebook, vocabulary):
    table()
