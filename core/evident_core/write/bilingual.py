"""Do two languages of one sentence state the same numbers, dates, names, quotations, directions and negations?"""

from collections import Counter
from collections.abc import Iterable

from evident_core.write.backing import Evidence
from evident_core.write.reading import Mention, Reading


def differences(one: Reading, other: Reading, evidence: Evidence) -> Iterable[tuple[str, str]]:
    """(what, why) for each thing that one language states and the other does not."""
    yield from _numbers(one, other, evidence)
    mine, theirs = _stated(one, evidence), _stated(other, evidence)
    for reading, more in ((one, mine - theirs), (other, theirs - mine)):
        for (kind, what), _ in sorted(more.items()):
            yield what, f"this {kind} is stated in {reading.language} alone."


def _numbers(one: Reading, other: Reading, evidence: Evidence) -> Iterable[tuple[str, str]]:
    """Numbers pair up when one fact may be behind both."""
    left = other.of("quantity")
    for mention in one.of("quantity"):
        mine = _facts(mention, one, evidence)
        if twin := next((each for each in left if mine & _facts(each, other, evidence)), None):
            left.remove(twin)
        else:
            yield mention.text, f"this number is stated in {one.language} alone."
    for mention in left:
        yield mention.text, f"this number is stated in {other.language} alone."


def _facts(mention: Mention, reading: Reading, evidence: Evidence) -> frozenset[str]:
    return frozenset(fact.id for fact in evidence.placed(mention, reading) or evidence.stating(mention))


def _stated(reading: Reading, evidence: Evidence) -> Counter[tuple[str, str]]:
    return Counter(each for mention in reading.mentions if (each := _canonical(mention, reading, evidence)))


def _canonical(mention: Mention, reading: Reading, evidence: Evidence) -> tuple[str, str] | None:
    """What a mention states, the same in every language."""
    match mention.kind:
        case "moment":
            return "date", str(mention.moment)
        case "name":
            return "name", mention.text
        case "quote":
            return "quotation", "".join(mention.text[1:-1].split())
        case "label":
            return "name", min(evidence.labels & {token.key for token in mention.tokens}, default=mention.text)
        case "pole":
            poles = [token.pole for token in mention.tokens if token.pole]
            backed = [pole.name for pole in poles if evidence.backs(pole, mention, reading)]
            return "direction", min(backed, default=mention.text)
        case "negation" | "unassessed":
            return "polarity", mention.kind
    return None
