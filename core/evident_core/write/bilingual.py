"""Do two languages of one sentence state the same numbers, dates, names, quotations, directions and negations?"""

from collections import Counter
from collections.abc import Iterable

from evident_core.write.backing import Evidence
from evident_core.write.reading import Mention, Reading


def differences(one: Reading, other: Reading, evidence: Evidence) -> Iterable[tuple[str, str]]:
    """(what, why) for each thing that one language states and the other does not."""
    mine, theirs = _stated(one, evidence), _stated(other, evidence)
    for reading, more in ((one, mine - theirs), (other, theirs - mine)):
        for (kind, what), _ in sorted(more.items()):
            yield what, f"this {kind} is stated in {reading.language} alone."


def _stated(reading: Reading, evidence: Evidence) -> Counter[tuple[str, str]]:
    return Counter(each for mention in reading.mentions if (each := _canonical(mention, reading, evidence)))


def _canonical(mention: Mention, reading: Reading, evidence: Evidence) -> tuple[str, str] | None:
    """What a mention states, the same in every language."""
    match mention.kind:
        case "quantity":
            facts = evidence.placed(mention, reading) or evidence.stating(mention)
            return "number", min((fact.id for fact in facts), default=mention.text)
        case "moment":
            return "date", str(mention.moment)
        case "name":
            return "name", mention.text
        case "quote":
            return "quotation", "".join(mention.text[1:-1].split())
        case "label":
            return "name", min(evidence.labels & {token.key for token in mention.tokens}, default=mention.text)
        case "pole":
            return "direction", min(token.key for token in mention.tokens)
        case "negation" | "unassessed":
            return "polarity", mention.kind
    return None
