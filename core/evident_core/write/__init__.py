"""Claims become sentences in two languages, and no sentence passes that its claims do not back."""

from evident_core.write.compose import compose, phrase_lexicon
from evident_core.write.phrasebook import Phrasebook
from evident_core.write.plan import Outline, SectionPlan, SentencePlan, plan
from evident_core.write.realise import realise, realise_sentence
from evident_core.write.verify import Violation, check, verify, verify_sentence
from evident_core.write.vocabulary import Vocabulary

__all__ = [
    "Outline",
    "Phrasebook",
    "SectionPlan",
    "SentencePlan",
    "Violation",
    "Vocabulary",
    "check",
    "compose",
    "phrase_lexicon",
    "plan",
    "realise",
    "realise_sentence",
    "verify",
    "verify_sentence",
]
